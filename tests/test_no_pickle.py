"""Nothing here runs code that a file brings along."""

import pickle
import re
from pathlib import Path

import pytest

from triage.errors import ModelError
from triage.quality.artifact import CARD_FILE, WEIGHTS_FILE, read_artifact, write_artifact
from triage.quality.starter import STARTER_FOLDER
from triage.quality.weights import load_network
from triage.training.checkpoint import read_checkpoint

ROOT = Path(__file__).parents[1]
MARK = Path("/var/tmp/triage-no-pickle")
RUNS_CODE = re.compile(
    r"\b(?:c?pickle|dill|joblib|shelve|marshal|jsonpickle)\.|import (?:pickle|dill|joblib|shelve|marshal)\b"
    r"|torch\.load\(|torch\.jit\.load|torch\.hub|allow_pickle|read_pickle|yaml\.(?:unsafe_)?load\(|(?<![.\w])(?:eval|exec)\("
)
# ImageNet's weights as torchvision ships them: its reader of tensors alone, in training, of a file that its user named
ALLOWED = {("triage/training/initial.py", "weights_only=True")}


def test_no_source_unpickles() -> None:
    for folder in ("triage", "worker", "migrations", "recipes", "benchmarks"):
        for path in (ROOT / folder).rglob("*.py"):
            for line in path.read_text(encoding="utf-8").splitlines():
                if RUNS_CODE.search(line):
                    name = str(path.relative_to(ROOT))
                    assert any(name == file and mark in line for file, mark in ALLOWED), f"{name}: {line.strip()}"


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
