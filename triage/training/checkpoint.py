"""The state of a training run after an epoch, as one safetensors file that is replaced atomically."""

import json
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from triage.domain.architecture import VGG16
from triage.errors import ModelError
from triage.files.atomic import write_durably


@dataclass(frozen=True, slots=True)
class Epoch:
    """The results of one epoch.

    Attributes:
        number: from 1.
        train_loss: mean over the training photos, while the weights changed.
        validation_loss: mean over the validation photos; None without any.
        validation_auc: None unless there are good and bad validation photos.
        learning_rate: of the optimiser in this epoch.
        photos_per_second: training photos, without the time of validation.
        seconds: wall time, with validation.
        is_best: whether its watched loss was the lowest so far.
    """

    number: int
    train_loss: float
    validation_loss: float | None
    validation_auc: float | None
    learning_rate: float
    photos_per_second: float
    seconds: float
    is_best: bool

    @property
    def watched_loss(self) -> float:
        """The loss that early stopping compares: of validation, or of training without validation photos."""
        return self.train_loss if self.validation_loss is None else self.validation_loss


@dataclass(frozen=True, slots=True)
class TrainingState:
    """Everything that the next epoch needs.

    The order of the photos and their flips follow from the seed and the epoch's number, so no generator is stored.

    Attributes:
        network: the weights after the last epoch, by name.
        best: the weights after the best epoch.
        started_from: the initial weights, in a few words.
        architecture: of the network, as on a card.
        momentum: SGD's buffer of each trained weight.
        epochs: the finished epochs, oldest first.
    """

    network: Mapping[str, Tensor]
    best: Mapping[str, Tensor]
    started_from: str
    architecture: str = VGG16
    momentum: Mapping[str, Tensor] = field(default_factory=dict)
    epochs: tuple[Epoch, ...] = ()

    @property
    def best_epoch(self) -> Epoch | None:
        return next((epoch for epoch in reversed(self.epochs) if epoch.is_best), None)

    def is_finished(self, *, epochs: int, patience: int) -> bool:
        """Whether all epochs are done, or `patience` epochs have passed since the best one."""
        if not self.epochs:
            return False
        best = self.best_epoch
        return len(self.epochs) >= epochs or len(self.epochs) - (best.number if best else 0) >= patience


class CheckpointWriter:
    """Writes the checkpoints of a run in the background, one at a time. At the end of the block, the last is durable.

    If the process is killed, the file is the one before or the one that was being written, never a part.
    """

    def __init__(self, path: Path, *, run: str) -> None:
        """
        Args:
            path: the file.
            run: as for `write_checkpoint`.
        """
        self._path = path
        self._run = run
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._last: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._thread.shutdown()  # waits
        if error is None:
            self._raise_errors()

    def save(self, state: TrainingState) -> None:
        """Starts to write a checkpoint, once the one before is durable.

        Args:
            state: must not change any more.

        Raises:
            OSError: the one before could not be written.
        """
        self._raise_errors()
        self._last = self._thread.submit(write_checkpoint, self._path, state, run=self._run)

    def _raise_errors(self) -> None:
        if self._last is not None:
            self._last.result()


def write_checkpoint(path: Path, state: TrainingState, *, run: str) -> None:
    """Writes a checkpoint. A reader sees the old file or the new one, never a part.

    Args:
        run: identifies the run; `read_checkpoint` compares it.
    """
    groups = {"network": state.network, "best": state.best, "momentum": state.momentum}
    tensors = {
        f"{group}/{name}": tensor.clone(memory_format=torch.contiguous_format)  # weights may also be the best ones
        for group, named in groups.items()
        for name, tensor in named.items()
    }
    metadata = {
        "run": run,
        "started_from": state.started_from,
        "architecture": state.architecture,
        "epochs": json.dumps([asdict(epoch) for epoch in state.epochs]),
    }
    write_durably(path, save(tensors, metadata))


def read_checkpoint(path: Path, *, run: str) -> TrainingState | None:
    """Reads a checkpoint.

    Returns:
        None if there is no file, or it belongs to another run.

    Raises:
        ModelError: the file is damaged.
    """
    if not path.exists():
        return None
    groups: dict[str, dict[str, Tensor]] = {"network": {}, "best": {}, "momentum": {}}
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("run") != run:
                return None
            for key in file.keys():  # noqa: SIM118  # safe_open returns no mapping
                group, name = key.split("/", 1)
                groups[group][name] = file.get_tensor(key)
            started_from, architecture = metadata["started_from"], metadata["architecture"]
            epochs = tuple(Epoch(**epoch) for epoch in json.loads(metadata["epochs"]))
    except (SafetensorError, KeyError, ValueError, TypeError, OSError) as error:
        raise ModelError("the run's checkpoint is damaged: cancel the run and start it again") from error
    return TrainingState(groups["network"], groups["best"], started_from, architecture, groups["momentum"], epochs)
