import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from triage.model.engines.mnn_model import model_file

MNN: Any = importlib.import_module("MNN")
SHAPE = (1, 3, 8, 8)


def _features(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))


@contextmanager
def _outcome(features: nn.Sequential, cache: Path | None) -> Iterator[Path]:
    """The file, found to do what the layers do."""
    with model_file(MNN, features, SHAPE, cache) as file:
        interpreter = MNN.Interpreter(str(file))
        session = interpreter.createSession({"numThread": 1})
        patches = torch.rand(SHAPE)
        given = MNN.Tensor(SHAPE, MNN.Halide_Type_Float, patches.numpy(), MNN.Tensor_DimensionType_Caffe)
        interpreter.getSessionInput(session).copyFrom(given)
        interpreter.runSession(session)
        found = torch.tensor(interpreter.getSessionOutput(session).getNumpyData()).flatten()
        assert sorted(found.tolist()) == pytest.approx(sorted(features(patches).flatten().tolist()), abs=1e-5)
        yield file


def test_file_is_written_once_for_the_same_weights(tmp_path: Path) -> None:
    cache = tmp_path / "engines"
    with _outcome(_features(), cache) as file:
        written = file.stat().st_mtime_ns

    with _outcome(_features(), cache) as again, _outcome(_features(seed=1), cache) as other:
        assert (again, again.stat().st_mtime_ns) == (file, written)
        assert other != file

    assert set(cache.iterdir()) == {file, other}
    assert cache.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b[:-9] + b"\0" + b[-8:], lambda b: b""])
def test_damaged_file_is_replaced(tmp_path: Path, damage: Any) -> None:
    with _outcome(_features(), tmp_path) as file:
        whole = file.read_bytes()
    file.write_bytes(damage(whole))

    with _outcome(_features(), tmp_path) as file:
        assert file.stat().st_size == len(whole)
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("cache", [None, Path("/proc/engines"), Path("/nowhere/engines")])
def test_file_is_temporary_when_the_folder_is_not_writable(cache: Path | None) -> None:
    with _outcome(_features(), cache) as file:
        assert file.exists()

    assert not file.parent.exists()


def test_truncated_file_is_not_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MNN.expr, "save", lambda _, path: Path(path).write_bytes(b"full disk"))

    with pytest.raises(OSError, match="no space"), model_file(MNN, _features(), SHAPE, tmp_path):
        pass

    assert list(tmp_path.iterdir()) == []
