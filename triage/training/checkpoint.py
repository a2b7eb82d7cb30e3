"""A training run's state after an epoch, as one safetensors file that is replaced in one step."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from triage.domain.architecture import VGG16
from triage.errors import ModelError


@dataclass(frozen=True, slots=True)
class Epoch:
    """What an epoch came to. Losses are means over photos; None where there are no validation photos of both kinds."""

    number: int
    train_loss: float
    validation_loss: float | None
    validation_auc: float | None
    seconds: float
    is_best: bool

    @property
    def judged(self) -> float:
        """The loss that early stopping watches."""
        return self.train_loss if self.validation_loss is None else self.validation_loss


@dataclass(frozen=True, slots=True)
class TrainingState:
    """All that the next epoch needs: weights, momentum, the best weights so far and the epochs behind.

    The order of photos and their flips come from the seed and the epoch's number, so no generator is kept.
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
        """Whether all epochs are done, or so many have passed without a better one."""
        if not self.epochs:
            return False
        best = self.best_epoch
        return len(self.epochs) >= epochs or len(self.epochs) - (best.number if best else 0) >= patience


def write_checkpoint(path: Path, state: TrainingState, *, run: str) -> None:
    """Writes a checkpoint; whoever reads the path sees the old one or the new one, whole.

    Args:
        run: what the checkpoint belongs to; reading asks for the same.
    """
    groups = {"network": state.network, "best": state.best, "momentum": state.momentum}
    tensors = {
        f"{group}/{name}": tensor.detach().cpu().contiguous().clone()
        for group, named in groups.items()
        for name, tensor in named.items()
    }
    metadata = {
        "run": run,
        "started_from": state.started_from,
        "architecture": state.architecture,
        "epochs": json.dumps([asdict(epoch) for epoch in state.epochs]),
    }
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        file.write(save(tensors, metadata))
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def read_checkpoint(path: Path, *, run: str) -> TrainingState | None:
    """Reads a checkpoint, or returns None where there is none of this run.

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
            for key in file.keys():  # noqa: SIM118  # a file of tensors is no mapping
                group, name = key.split("/", 1)
                groups[group][name] = file.get_tensor(key)
            started_from, architecture = metadata["started_from"], metadata["architecture"]
            epochs = tuple(Epoch(**epoch) for epoch in json.loads(metadata["epochs"]))
    except (SafetensorError, KeyError, ValueError, TypeError, OSError) as error:
        raise ModelError("the run's checkpoint is damaged: cancel the run and start it again") from error
    return TrainingState(groups["network"], groups["best"], started_from, architecture, groups["momentum"], epochs)
