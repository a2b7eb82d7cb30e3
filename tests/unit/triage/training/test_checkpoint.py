import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from triage.errors import ModelError
from triage.files.atomic import write_durably
from triage.training.checkpoint import CheckpointWriter, Epoch, TrainingState, read_checkpoint, write_checkpoint


def _epoch(number: int, *, is_best: bool) -> Epoch:
    return Epoch(number, 1.5, 1.25, 0.75, 0.01, 2.0, 3.0, is_best)


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


class Disk:
    """A disk that writes when it is allowed to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.allowed = threading.Semaphore(0)
        self.started = threading.Semaphore(0)
        self.at_once = self.most_at_once = 0
        monkeypatch.setattr("triage.training.checkpoint.write_durably", self.write)

    def write(self, path: Path, data: bytes) -> None:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        self.started.release()
        assert self.allowed.acquire(timeout=60)
        write_durably(path, data)
        self.at_once -= 1


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


def test_checkpoint_is_written_while_the_next_epoch_goes_on(tmp_path: Path, disk: Disk) -> None:
    path = tmp_path / "checkpoint.safetensors"

    with CheckpointWriter(path, run="r") as writer:
        writer.save(_state())  # returns
        assert disk.started.acquire(timeout=60)
        assert not path.exists()
        disk.allowed.release()

    assert read_checkpoint(path, run="r") is not None


def test_second_checkpoint_waits_for_the_first(tmp_path: Path, disk: Disk) -> None:
    path = tmp_path / "checkpoint.safetensors"
    second = replace(_state(), epochs=(*_state().epochs, _epoch(3, is_best=False)))

    with CheckpointWriter(path, run="r") as writer:
        writer.save(_state())
        assert disk.started.acquire(timeout=60)
        saving = threading.Thread(target=writer.save, args=(second,))
        saving.start()
        saving.join(0.2)
        assert saving.is_alive()
        disk.allowed.release(2)
        saving.join(60)

    found = read_checkpoint(path, run="r")
    assert found is not None
    assert (len(found.epochs), disk.most_at_once) == (3, 1)


def test_last_checkpoint_is_durable_when_the_training_ends_with_an_error(tmp_path: Path, disk: Disk) -> None:
    path = tmp_path / "checkpoint.safetensors"

    with pytest.raises(KeyError), CheckpointWriter(path, run="r") as writer:  # noqa: PT012  # the block is the test
        writer.save(_state())
        threading.Timer(0.2, disk.allowed.release).start()
        raise KeyError

    assert read_checkpoint(path, run="r") is not None


@pytest.mark.parametrize("ends", [True, False])
def test_training_ends_when_a_checkpoint_cannot_be_written(tmp_path: Path, ends: bool) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(OSError), CheckpointWriter(tmp_path / "file" / "checkpoint", run="r") as writer:  # noqa: PT011,PT012
        writer.save(_state())
        if not ends:
            writer.save(_state())
            pytest.fail("the error was ignored")
