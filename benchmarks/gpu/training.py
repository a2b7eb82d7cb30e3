"""Training: photos per second by precision and batch, and whether bfloat16 learns as float32 does."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from benchmarks.engines import draw_photos
from benchmarks.gpu.run import Result, Row, Run
from triage.dataset.manifest import LabelledPhoto
from triage.model.network import OrdinalVGG16
from triage.training.checkpoint import TrainingState
from triage.training.config import TrainingConfig
from triage.training.loop import train
from triage.training.photos import PhotoSet

_PRECISIONS: Final = {"bfloat16": True, "float32": False}


def measure(run: Run) -> Result:
    training, validation = _photos(4 if run.small else 128), _photos(4 if run.small else 64)
    return {
        "photos": len(training),
        "speed": list(_speeds(run, training)),
        "curves": list(_curves(run, training, validation)),
    }


def _speeds(run: Run, training: PhotoSet) -> Iterator[Row]:
    for name, mixed in _PRECISIONS.items():
        for batch in (2,) if run.small else (8, 16, 32):
            if run.has_time():
                config = TrainingConfig(epochs=3, batch_photos=batch, mixed_precision=mixed)
                seconds = [epoch.seconds for epoch in _train(run, training, _none(training), config).epochs]
                yield {"precision": name, "photos a batch": batch, "photos/s": len(training) / min(seconds[1:])}


def _curves(run: Run, training: PhotoSet, validation: PhotoSet) -> Iterator[Row]:
    for name, mixed in _PRECISIONS.items():
        if run.has_time():
            config = TrainingConfig(epochs=2 if run.small else 6, patience=6, mixed_precision=mixed)
            for epoch in _train(run, training, validation, config).epochs:
                yield {
                    "precision": name,
                    "epoch": epoch.number,
                    "training loss": epoch.train_loss,
                    "validation loss": epoch.validation_loss,
                    "validation AUC": epoch.validation_auc,
                }


def _train(run: Run, training: PhotoSet, validation: PhotoSet, config: TrainingConfig) -> TrainingState:
    network: OrdinalVGG16 = copy.deepcopy(run.network())
    network.reasons = None  # as in a training run: they are fitted at its end
    return train(network, training, validation, config, device=run.device)


def _photos(n: int) -> PhotoSet:
    """Half of the photos are sharp (4 votes), the others spoiled (1 vote)."""
    return PhotoSet(draw_photos(n), [LabelledPhoto(Path(), votes) for votes in [4, 1] * (n // 2)])


def _none(photos: PhotoSet) -> PhotoSet:
    return PhotoSet(photos.photos[:0], [])
