"""The card of a network that was just trained: recalibration, threshold and evaluation on each split."""

import platform
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from triage.dataset.manifest import Manifest, Split
from triage.domain.card import Card, Recalibration
from triage.errors import UsageError
from triage.evaluation.description import count_by_votes, describe_split
from triage.evaluation.evaluate import evaluate
from triage.evaluation.labelled import SUBGROUPS, predictions_of
from triage.evaluation.operating_point import just_below, ppv_threshold, youden_threshold
from triage.evaluation.predictions import Predictions
from triage.evaluation.recalibration import fit_recalibration
from triage.model.coral import count_rank_violations
from triage.model.engines.choose import load_exact_engine
from triage.model.engines.engine import Engine
from triage.model.network import OrdinalVGG16, pool_patches, probabilities_of
from triage.statistics.arrays import Floats
from triage.statistics.auc import Labels, Scores
from triage.training.checkpoint import TrainingState
from triage.training.config import TrainingConfig
from triage.training.photos import PhotoSet, levels_of_labels

FEWEST_TO_RECALIBRATE: Final = 30
"""The fewest photos with which `benchmarks.calibration` shows a gain; with a few, all scores move to the middle."""
_PACKAGES: Final = ("skin-photo-triage", "torch", "torchvision", "numpy", "scipy", "pillow")


def describe_network(
    network: OrdinalVGG16,
    sets: Mapping[Split, PhotoSet],
    state: TrainingState,
    config: TrainingConfig,
    *,
    name: str,
    manifest: Manifest,
    unreadable: int,
    device: torch.device,
    on_batch: Callable[[], object] = lambda: None,
) -> Card:
    """Recalibrates and evaluates a network, and chooses its threshold.

    Args:
        network: with the weights of its best epoch.
        sets: the photos of each split, of which the training split is not empty.
        state: after the last epoch.
        config: the settings of the training.
        name: of the model.
        manifest: that the photos are from.
        unreadable: the number of photos that were left out.
        device: that the network was trained on; a scorer on such a device gets the same scores.
        on_batch: called after each batch of photos.

    Returns:
        The card, without the hash of the weights.
    """
    engine = load_exact_engine(network, device)  # as in scoring
    logits = {split: _logits(engine, photos, config, on_batch) for split, photos in sets.items() if len(photos)}
    raw = {split: _probabilities(rows, config, None) for split, rows in logits.items()}  # (N, K) each
    good = {split: _good(sets[split], config) for split in raw}
    fitted_on = Split.VALIDATION if Split.VALIDATION in good and _has_both(good[Split.VALIDATION]) else Split.TRAIN
    recalibration, withheld = None, ""
    if config.recalibrate:
        recalibration, withheld = _recalibration(raw[fitted_on], sets[fitted_on], good[fitted_on], config)
    cumulative = {split: _probabilities(rows, config, recalibration) for split, rows in logits.items()}
    scores = {split: rows[:, config.good_votes - 1] for split, rows in cumulative.items()}  # (N,) each
    learned_from = {*sets[Split.TRAIN].hashes, *sets[Split.VALIDATION].hashes}
    chosen_on = fitted_on if config.threshold_from == "validation" else Split.TRAIN
    threshold, chosen_by = _threshold(scores[chosen_on], good[chosen_on], config)
    return Card(
        name=name,
        architecture=network.architecture,
        trained=True,
        head=config.head,
        n_outputs=config.n_reviewers,
        good_votes=config.good_votes,
        pooling=config.pooling,
        recalibration=recalibration,
        recalibration_withheld=withheld,
        threshold=threshold,
        threshold_chosen_by=f"{chosen_by} on {len(scores[chosen_on])} {chosen_on.value} photos",
        metrics={
            split.value: _metrics(
                logits[split],
                replace(
                    predictions_of(cumulative[split], sets[split].labels, config.good_votes),
                    uncalibrated=raw[split] if recalibration else None,
                ),
                threshold,
                config,
            )
            | {"trained_on": sum(digest in learned_from for digest in sets[split].hashes)}
            for split in scores
        },
        data_summary={
            "manifest_sha256": manifest.sha256,
            "reviewers": len(manifest.reviewers) or None,
            "splits": {
                split.value: describe_split(sets[split].labels, config.n_reviewers, config.good_votes)
                for split in scores
            },
            "photos": {split.value: len(photos) for split, photos in sets.items()},
            "votes": {split.value: count_by_votes(photos.labels, config.n_reviewers) for split, photos in sets.items()},
            "unreadable": unreadable,
        },
        training_settings=config.model_dump() | {"started_from": state.started_from, "device": device.type},
        made_with=_versions(),
        learning_curve=tuple(asdict(epoch) for epoch in state.epochs),
        created_at=datetime.now(UTC),
    )


def _versions() -> dict[str, str]:
    return {"python": platform.python_version()} | {name: version(name) for name in _PACKAGES}


def _logits(engine: Engine, photos: PhotoSet, config: TrainingConfig, on_batch: Callable[[], object]) -> Tensor:
    """The exact logits of the patches: float32 (N, 5, K)."""
    rows = []
    for batch in photos.photos.split(config.batch_photos):
        rows.append(engine.exact_logits(batch))  # (n, 5, K)
        on_batch()
    return torch.cat(rows)


def _probabilities(logits: Tensor, config: TrainingConfig, recalibration: Recalibration | None) -> Floats:
    """The photos' cumulative probabilities as in scoring: float64 (N, K)."""
    rows: Floats = probabilities_of(logits, config.pooling, recalibration)[0].double().numpy()
    return rows


def _recalibration(
    cumulative: Floats, photos: PhotoSet, good: Labels, config: TrainingConfig
) -> tuple[Recalibration | None, str]:
    """The recalibration, or None and the reason why it is withheld."""
    if not _has_both(good):
        return None, "all photos to fit it on are good, or all are bad"
    if len(good) < FEWEST_TO_RECALIBRATE:
        return None, f"fewer than {FEWEST_TO_RECALIBRATE} photos to fit it on"
    try:
        levels = levels_of_labels(photos.labels, config.n_reviewers).double().numpy()
        return fit_recalibration(cumulative, levels), ""
    except UsageError as error:
        return None, str(error)


def _threshold(scores: Scores, good: Labels, config: TrainingConfig) -> tuple[float, str]:
    """The threshold, and how it was chosen, to be followed by "on n photos"."""
    if not _has_both(good):
        return 0.5, "one half, as all are good or all are bad,"
    if config.target_ppv is None:
        return just_below(youden_threshold(scores, good)), "Youden's index"
    try:
        return just_below(ppv_threshold(scores, good, config.target_ppv)), f"PPV of at least {config.target_ppv:g}"
    except UsageError:
        chosen_by = f"Youden's index, as none reaches a PPV of {config.target_ppv:g},"
        return just_below(youden_threshold(scores, good)), chosen_by


def _metrics(logits: Tensor, predictions: Predictions, threshold: float, config: TrainingConfig) -> dict[str, Any]:
    """The evaluation of one split."""
    metrics = evaluate(predictions, threshold=threshold, good_votes=config.good_votes, by=SUBGROUPS)
    metrics["rank_violations"] = count_rank_violations(pool_patches(logits, config.pooling)[0])
    return metrics


def _has_both(good: Labels) -> bool:
    return 0 < int(good.sum()) < len(good)


def _good(photos: PhotoSet, config: TrainingConfig) -> Labels:
    return np.array([label.is_good(config.good_votes, config.n_reviewers) for label in photos.labels], dtype=bool)
