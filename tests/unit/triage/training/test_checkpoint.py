from pathlib import Path

import pytest
import torch

from triage.errors import ModelError
from triage.training.checkpoint import Epoch, TrainingState, read_checkpoint, write_checkpoint


def _epoch(number: int, *, is_best: bool) -> Epoch:
    return Epoch(number, 1.5, 1.25, 0.75, 3.0, is_best)


def _state() -> TrainingState:
    return TrainingState(
        network={"a": torch.arange(6.0).view(2, 3)},
        best={"a": torch.zeros(2, 3)},
        started_from="imagenet",
        architecture="vgg-4-8-8-8-8-five-patch",
        momentum={"a": torch.ones(2, 3)},
        epochs=(_epoch(1, is_best=True), _epoch(2, is_best=False)),
    )


def test_checkpoint_reads_back_the_same(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    write_checkpoint(path, _state(), run="r")

    found = read_checkpoint(path, run="r")

    assert found is not None
    assert (found.epochs, found.started_from) == (_state().epochs, "imagenet")
    assert found.architecture == "vgg-4-8-8-8-8-five-patch"
    for group in ("network", "best", "momentum"):
        assert torch.equal(getattr(found, group)["a"], getattr(_state(), group)["a"])
    assert list(tmp_path.iterdir()) == [path]


def test_checkpoint_is_ignored_when_it_belongs_to_another_run(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    assert read_checkpoint(path, run="r") is None
    write_checkpoint(path, _state(), run="r")

    assert read_checkpoint(path, run="other") is None


def test_checkpoint_is_refused_when_it_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    write_checkpoint(path, _state(), run="r")
    path.write_bytes(path.read_bytes()[:100])

    with pytest.raises(ModelError, match="damaged"):
        read_checkpoint(path, run="r")


@pytest.mark.parametrize(
    ("bests", "finished"),
    [([], False), ([1], False), ([1, 2], False), ([1, 0, 0], True), ([1, 0, 1, 0], False), ([1, 1, 1, 1, 1], True)],
)
def test_training_is_finished_when_all_epochs_are_done_or_patience_runs_out(bests: list[int], finished: bool) -> None:
    epochs = tuple(_epoch(number, is_best=bool(best)) for number, best in enumerate(bests, 1))

    assert TrainingState({}, {}, "random", epochs=epochs).is_finished(epochs=5, patience=2) is finished
