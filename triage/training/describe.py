"""The card of a network that was just trained: recalibration, threshold and evaluation on each split."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import numpy as np
import torch
from torch import Tensor

from triage.dataset.manifest import Split
from triage.domain.card import Card, Recalibration
from triage.errors import UsageError
from triage.evaluation.calibration import Platt, fit_platt
from triage.evaluation.description import count_by_votes
from triage.evaluation.evaluate import evaluate
from triage.evaluation.labelled import SUBGROUPS, predictions_of
from triage.evaluation.operating_point import just_below, ppv_threshold, youden_threshold
from triage.model.coral import count_rank_violations
from triage.model.engines.choose import load_exact_engine
from triage.model.engines.engine import Engine
from triage.model.network import OrdinalVGG16, pool_patches
from triage.statistics.auc import Labels, Scores
from triage.training.checkpoint import TrainingState
from triage.training.config import TrainingConfig
from triage.training.photos import PhotoSet


def describe_network(
    network: OrdinalVGG16,
    sets: Mapping[Split, PhotoSet],
    state: TrainingState,
    config: TrainingConfig,
    *,
    name: str,
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
        unreadable: the number of photos that were left out.
        device: that the network was trained on; a scorer on such a device gets the same scores.
        on_batch: called after each batch of photos.

    Returns:
        The card, without the hash of the weights.
    """
    engine = load_exact_engine(network, device)  # as in scoring
    cumulative = {split: _score(engine, photos, config, on_batch) for split, photos in sets.items() if len(photos)}
    raw = {split: rows[:, config.good_votes - 1].double().numpy() for split, rows in cumulative.items()}  # (N,) each
    good = {split: _good(sets[split], config) for split in raw}
    fitted_on = Split.VALIDATION if Split.VALIDATION in good and _has_both(good[Split.VALIDATION]) else Split.TRAIN
    platt = _recalibration(raw[fitted_on], good[fitted_on]) if config.recalibrate else None
    scores = {split: platt.apply(values) for split, values in raw.items()} if platt else raw
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
        recalibration=Recalibration(slope=platt.slope, intercept=platt.intercept) if platt else None,
        threshold=threshold,
        threshold_chosen_by=f"{chosen_by} on {len(scores[chosen_on])} {chosen_on.value} photos",
        metrics={
            split.value: _metrics(
                sets[split], cumulative[split], scores[split], raw[split] if platt else None, threshold, config
            )
            for split in scores
        },
        data_summary={
            "photos": {split.value: len(photos) for split, photos in sets.items()},
            "votes": {split.value: count_by_votes(photos.labels, config.n_reviewers) for split, photos in sets.items()},
            "unreadable": unreadable,
        },
        training_settings=config.model_dump() | {"started_from": state.started_from, "device": device.type},
        learning_curve=tuple(asdict(epoch) for epoch in state.epochs),
        created_at=datetime.now(UTC),
    )


def _score(engine: Engine, photos: PhotoSet, config: TrainingConfig, on_batch: Callable[[], object]) -> Tensor:
    """The pooled cumulative probabilities, exact and without recalibration: float32 (N, K)."""
    rows = []
    for batch in photos.photos.split(config.batch_photos):
        rows.append(pool_patches(engine.exact_logits(batch), config.pooling)[0])  # (n, 5, K) -> (n, K)
        on_batch()
    return torch.cat(rows)


def _recalibration(scores: Scores, good: Labels) -> Platt | None:
    """None if it cannot be fitted, or would reverse the order of the scores (a slope that is not positive)."""
    if not _has_both(good):
        return None
    platt = fit_platt(scores, good)
    return platt if platt.slope > 0 else None


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


def _metrics(
    photos: PhotoSet, cumulative: Tensor, scores: Scores, raw: Scores | None, threshold: float, config: TrainingConfig
) -> dict[str, Any]:
    """The evaluation of one split. `raw` are the scores before recalibration, if any."""
    metrics = evaluate(
        predictions_of(scores, photos.labels, config.n_reviewers),
        threshold=threshold,
        good_votes=config.good_votes,
        by=SUBGROUPS,
    )
    metrics["rank_violations"] = count_rank_violations(cumulative)
    if raw is not None:
        before = evaluate(
            predictions_of(raw, photos.labels, config.n_reviewers), threshold=0.5, good_votes=config.good_votes
        )
        metrics["calibration_before"] = before["calibration"]
    return metrics


def _has_both(good: Labels) -> bool:
    return 0 < int(good.sum()) < len(good)


def _good(photos: PhotoSet, config: TrainingConfig) -> Labels:
    return np.array([label.is_good(config.good_votes, config.n_reviewers) for label in photos.labels], dtype=bool)
