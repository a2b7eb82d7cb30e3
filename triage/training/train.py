"""From a manifest to a model: photos, the loop, evaluation, recalibration, threshold and card."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import torch

from triage.dataset.manifest import Manifest, Split
from triage.domain.architecture import layers_of
from triage.domain.card import Card, Recalibration
from triage.errors import UsageError
from triage.evaluation.calibration import fit_platt
from triage.evaluation.evaluate import evaluate
from triage.evaluation.labelled import SUBGROUPS, predictions_of
from triage.evaluation.operating_point import just_below, ppv_threshold, youden_threshold
from triage.imaging.decode import Decoder
from triage.model.artifact import bind_card
from triage.model.coral import count_rank_violations
from triage.model.network import OrdinalVGG16
from triage.model.weights import weights_of
from triage.training.checkpoint import TrainingState, read_checkpoint, write_checkpoint
from triage.training.config import TrainingConfig
from triage.training.initial import initial_network
from triage.training.loop import predict, train
from triage.training.photos import PhotoSet, load_photos
from triage.training.progress import OnProgress, Progress, ignore_progress

CHECKPOINT: Final = "checkpoint.safetensors"


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """A model.

    Attributes:
        card: with the hash of the weights.
        weights: a safetensors file.
        unreadable: the number of photos that were left out.
    """

    card: Card
    weights: bytes
    unreadable: int


def train_model(
    manifest: Manifest,
    config: TrainingConfig,
    *,
    name: str,
    init: str,
    folder: Path,
    device: torch.device,
    decoder: Decoder,
    on_progress: OnProgress = ignore_progress,
) -> TrainedModel:
    """Trains, evaluates and describes a model. Started again with the same folder, it goes on after the last epoch.

    Args:
        manifest: with splits; photos without one are for training.
        folder: of this run alone, for its checkpoint and its decoded photos. The caller deletes it.

    Raises:
        UsageError: no photo of the training split can be read, or there is nothing to start from.
        ModelError: the weights to start from, or the checkpoint, are damaged.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sets, unreadable = _load(manifest, config, folder, decoder, on_progress)
    if not len(sets[Split.TRAIN]):
        raise UsageError("no photo of the training split can be read: check the manifest's files")
    checkpoint = folder / CHECKPOINT
    checkpoint_of = config.model_dump_json()
    resume = read_checkpoint(checkpoint, run=checkpoint_of)
    if resume is None:
        network, started_from = initial_network(init, config)
    else:  # what the run began with need not be there any more
        layers = layers_of(resume.architecture)
        network, started_from = OrdinalVGG16(config.n_reviewers, config.head, layers), resume.started_from
    state = train(
        network,
        sets[Split.TRAIN],
        sets[Split.VALIDATION],
        config,
        device=device,
        started_from=started_from,
        resume=resume,
        save=lambda state: write_checkpoint(checkpoint, state, run=checkpoint_of),
        on_progress=on_progress,
    )
    on_progress(Progress("evaluating"))
    card = _card(
        network, sets, state, config, name=name, started_from=started_from, unreadable=unreadable, device=device
    )
    weights = weights_of(network, made_as=f"{name} {config.model_dump_json()}")
    return TrainedModel(bind_card(card, weights), weights, unreadable)


def _load(
    manifest: Manifest, config: TrainingConfig, folder: Path, decoder: Decoder, on_progress: OnProgress
) -> tuple[dict[Split, PhotoSet], int]:
    labels = {split: manifest.of(split) for split in Split}
    total = sum(map(len, labels.values()))
    sets: dict[Split, PhotoSet] = {}
    done = unreadable = 0
    for split in Split:
        before = done
        sets[split], lost = load_photos(
            labels[split],
            folder / f"{split.value}.photos",
            decoder,
            region_of_interest=config.region_of_interest,
            on_photo=lambda number, before=before: on_progress(  # type: ignore[misc]
                Progress("reading photos", photos=before + number, of_photos=total)
            ),
        )
        done += len(labels[split])
        unreadable += lost
    return sets, unreadable


def _card(
    network: OrdinalVGG16,
    sets: Mapping[Split, PhotoSet],
    state: TrainingState,
    config: TrainingConfig,
    *,
    name: str,
    started_from: str,
    unreadable: int,
    device: torch.device,
) -> Card:
    exact = config.model_copy(update={"mixed_precision": False})  # as the scorer computes
    cumulative = {split: predict(network, photos, exact) for split, photos in sets.items() if len(photos)}
    scores = {split: rows[:, config.good_votes - 1].double().numpy() for split, rows in cumulative.items()}
    good = {split: (sets[split].votes >= config.good_votes).numpy() for split in scores}
    fitted_on = Split.VALIDATION if _has_both(good.get(Split.VALIDATION)) else Split.TRAIN
    recalibration = None
    raw = scores
    if config.recalibrate and _has_both(good[fitted_on]):
        platt = fit_platt(scores[fitted_on], good[fitted_on])
        if platt.slope > 0:  # a score that points the wrong way is not mended by turning it round
            recalibration = Recalibration(slope=platt.slope, intercept=platt.intercept)
            scores = {split: platt.apply(values) for split, values in scores.items()}
    chosen_on = fitted_on if config.threshold_from == "validation" else Split.TRAIN
    threshold, how = _threshold(scores[chosen_on], good[chosen_on], config)
    metrics = {
        split.value: evaluate(
            predictions_of(values, sets[split].labels), threshold=threshold, good_votes=config.good_votes, by=SUBGROUPS
        )
        for split, values in scores.items()
    }
    for split, rows in cumulative.items():
        metrics[split.value]["rank_violations"] = count_rank_violations(rows)
        if recalibration is not None:
            before = evaluate(
                predictions_of(raw[split], sets[split].labels), threshold=0.5, good_votes=config.good_votes
            )
            metrics[split.value]["calibration_before"] = before["calibration"]
    return Card(
        name=name,
        architecture=network.architecture,
        trained=True,
        head=config.head,
        n_outputs=config.n_reviewers,
        good_votes=config.good_votes,
        pooling=config.pooling,
        recalibration=recalibration,
        threshold=threshold,
        threshold_chosen_by=f"{how} on {len(scores[chosen_on])} {chosen_on.value} photos",
        metrics=metrics,
        data_summary={
            "photos": {split.value: len(photos) for split, photos in sets.items()},
            "votes": {split.value: _histogram(photos, config.n_reviewers) for split, photos in sets.items()},
            "unreadable": unreadable,
        },
        training_settings=config.model_dump() | {"started_from": started_from, "device": device.type},
        learning_curve=tuple(asdict(epoch) for epoch in state.epochs),
        created_at=datetime.now(UTC),
    )


def _threshold(scores: Any, good: Any, config: TrainingConfig) -> tuple[float, str]:
    if not _has_both(good):
        return 0.5, "one half, as all are good or all are bad,"
    if config.target_ppv is not None:
        try:
            return just_below(ppv_threshold(scores, good, config.target_ppv)), f"PPV of at least {config.target_ppv:g}"
        except UsageError:
            how = f"Youden's index, as none reaches a PPV of {config.target_ppv:g},"
            return just_below(youden_threshold(scores, good)), how
    return just_below(youden_threshold(scores, good)), "Youden's index"


def _has_both(good: Any) -> bool:
    return good is not None and 0 < int(good.sum()) < len(good)


def _histogram(photos: PhotoSet, n_reviewers: int) -> list[int]:
    counts: list[int] = torch.bincount(photos.votes, minlength=n_reviewers + 1).tolist()
    return counts
