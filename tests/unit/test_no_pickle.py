"""Nothing here runs code that a file brings along."""

import ast
import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest

from triage.errors import ModelError
from triage.model.artifact import CARD_FILE, WEIGHTS_FILE, read_artifact, write_artifact
from triage.model.starter import STARTER_FOLDER
from triage.model.weights import load_network
from triage.training.checkpoint import read_checkpoint

ROOT = Path(__file__).parents[2]
MARK = Path("/var/tmp/triage-no-pickle")
RUNS_CODE = (
    *("pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal", "jsonpickle"),
    *("torch.load", "torch.jit.load", "torch.hub", "torch.package", "allow_pickle", "eval", "exec"),
)
# with weights_only=True, for torchvision's file of ImageNet weights, which the user of `triage train` names
ALLOWED = {("triage/training/initial.py", "torch.load")}


def _names(tree: ast.AST) -> Iterator[str]:
    """Every module, function and argument that a source names."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module, names):
                yield str(module)
                yield from (f"{module}.{alias.name}" for alias in names)
            case ast.Attribute(ast.Name(owner), name):
                yield f"{owner}.{name}"
            case ast.Call(ast.Name(name)) | ast.keyword(str(name)):
                yield name


def _runs_code(source: str) -> set[str]:
    return {
        name
        for name in _names(ast.parse(source))
        if any(name == bad or name.startswith(f"{bad}.") for bad in RUNS_CODE)
        or name.endswith((".read_pickle", ".unsafe_load"))
    }


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "import os, pickle",
        "from pickle import loads",
        "import cloudpickle as harmless",
        "import torch\ntorch.load (f)",
        "from torch import load",
        "import numpy\nnumpy.load(f, allow_pickle=True)",
        "import pandas\npandas.read_pickle(f)",
        "exec(text)",
    ],
)
def test_source_that_unpickles_is_seen(source: str) -> None:
    assert _runs_code(source)


def test_no_source_unpickles() -> None:
    for folder in ("triage", "worker", "migrations", "recipes", "benchmarks"):
        for path in (ROOT / folder).rglob("*.py"):
            name = str(path.relative_to(ROOT))
            found = _runs_code(path.read_text(encoding="utf-8"))
            assert {(name, what) for what in found} <= ALLOWED, name
    assert "weights_only=True" in (ROOT / "triage/training/initial.py").read_text(encoding="utf-8")


class _RunsCode:
    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (MARK,)


def test_pickle_in_the_place_of_weights_or_a_checkpoint_runs_nothing(tmp_path: Path) -> None:
    MARK.unlink(missing_ok=True)
    malicious = pickle.dumps(_RunsCode())
    card, _ = read_artifact(STARTER_FOLDER)

    (tmp_path / WEIGHTS_FILE).write_bytes(malicious)
    (tmp_path / CARD_FILE).write_bytes((STARTER_FOLDER / CARD_FILE).read_bytes())
    with pytest.raises(ModelError, match="SHA-256"):
        read_artifact(tmp_path)
    forged = write_artifact(tmp_path, card, malicious)  # the hash is right, the file is still no safetensors
    with pytest.raises(ModelError):
        load_network(forged, malicious)
    (tmp_path / "run.checkpoint").write_bytes(malicious)
    with pytest.raises(ModelError):
        read_checkpoint(tmp_path / "run.checkpoint", run="r")
    assert not MARK.exists()
