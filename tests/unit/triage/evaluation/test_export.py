import re
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import torch
import yaml

from tests.support.evaluated import draw_evaluation, make_evaluated_card
from tests.support.narrow_model import add_reasons, draw_narrow_network, make_narrow_model, write_narrow_model
from triage.domain.card import Card, Recalibration
from triage.domain.states import FindingKind
from triage.errors import ModelError, UsageError
from triage.evaluation.card_page import render_card
from triage.evaluation.export import export_model
from triage.evaluation.model_card import render_readme
from triage.model.artifact import read_artifact
from triage.model.engines.tolerance import draw_pictures
from triage.model.engines.torch_exact import TorchEngine
from triage.model.scorer import Scorer
from triage.model.starter import STARTER_FOLDER
from triage.model.weights import load_network


def test_exported_folder_is_the_same_model(tmp_path: Path) -> None:
    card, weights = make_narrow_model(metrics={"test": draw_evaluation()})

    files = export_model(card, weights, tmp_path / "deep" / "model")

    assert files == ["weights.safetensors", "card.json", "README.md"]
    assert sorted(path.name for path in (tmp_path / "deep" / "model").iterdir()) == sorted(files)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["model"]
    assert read_artifact(tmp_path / "deep" / "model") == (card, weights)


@pytest.mark.parametrize("content", ["file", "folder", "itself"])
def test_export_is_refused_and_changes_nothing_when_something_is_there(tmp_path: Path, content: str) -> None:
    target = tmp_path / "model"
    if content == "itself":
        target.write_text("mine")
    else:
        target.mkdir()
        (target / "mine").mkdir() if content == "folder" else (target / "mine").write_text("mine")
    before = sorted(tmp_path.rglob("*"))

    with pytest.raises(UsageError, match="not empty: give a new one"):
        export_model(*make_narrow_model(), target)

    assert sorted(tmp_path.rglob("*")) == before


def test_export_is_refused_when_the_weights_are_not_those_of_the_card(tmp_path: Path) -> None:
    card, weights = make_narrow_model()

    with pytest.raises(ModelError, match="SHA-256"):
        export_model(card, weights + b"x", tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_folder_is_complete_or_missing_when_the_process_is_killed(tmp_path: Path) -> None:
    write_narrow_model(tmp_path / "from")
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from triage.evaluation.export import export_model\n"
        "from triage.model.artifact import read_artifact\n"
        "model = read_artifact(Path(sys.argv[1]))\n"
        "n, real = int(sys.argv[3]), os.fsync\n"
        "def fsync(file):\n"
        "    global n\n"
        "    n -= 1\n"
        "    if n < 0: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    real(file)\n"
        "os.fsync = fsync\n"
        "export_model(*model, Path(sys.argv[2]))\n"
    )
    outcomes = []
    for n in (0, 3, 4):
        target = tmp_path / f"to-{n}"
        killed = subprocess.run([sys.executable, "-c", code, tmp_path / "from", target, str(n)], check=False)
        assert killed.returncode in {0, -signal.SIGKILL}
        outcomes.append(target.exists())
        if target.exists():
            assert read_artifact(target) == read_artifact(tmp_path / "from")
            assert len(list(target.iterdir())) == 3
    assert outcomes == [False, False, True]  # in the first file, in the folder, in its parent


def test_readme_has_front_matter_and_every_section() -> None:
    readme = render_readme(make_evaluated_card(), folder="clinic", licence="apache-2.0")

    _, front, text = readme.split("---\n", 2)
    found = yaml.safe_load(front)
    assert found["license"] == "apache-2.0"
    [model] = found["model-index"]
    [result] = model["results"]
    assert (model["name"], result["dataset"]["split"]) == ("narrow", "test")
    values = {metric["type"]: metric["value"] for metric in result["metrics"]}
    assert values["roc_auc"] == pytest.approx(draw_evaluation()["auc"], abs=1e-4)
    assert "DeLong" in result["metrics"][0]["name"]
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == [
        "Intended use and limits",
        "Data",
        "Method",
        "Metrics",
        "Subgroups",
        "Calibration",
        "How to use",
    ]
    assert "triage score photo.jpg --model ./clinic" in text
    assert make_evaluated_card().weights_sha256 in text
    assert "onnxruntime" not in text
    assert all(f"| test | at least {k} |" in text for k in range(1, 5))
    assert r"| a\|b\<script\> \# x |" in text


def test_readme_of_the_starter_model_says_what_it_is_not_for() -> None:
    card, _ = read_artifact(STARTER_FOLDER)

    readme = render_readme(card, folder="starter-2")

    assert "For trying the product, not for care" in readme
    assert "before: slope" in readme
    assert len(yaml.safe_load(readme.split("---\n", 2)[1])["model-index"][0]["results"]) == 2


@pytest.mark.parametrize("render", [render_card, partial(render_readme, folder="x")])
@pytest.mark.parametrize("changes", [{"intervals": {}}, {"groups": 7}, {"auc": "high"}])
def test_evaluation_from_elsewhere_is_refused_in_one_line_when_it_cannot_be_read(
    changes: dict[str, Any], render: Callable[[Card], str]
) -> None:
    card = make_evaluated_card(metrics={"test": draw_evaluation() | changes})

    with pytest.raises(ModelError, match="'narrow' has an evaluation that cannot be read"):
        render(card)


def test_readme_is_written_when_the_card_has_nodraw_evaluation() -> None:
    card, _ = make_narrow_model(trained=False)

    assert "never trained" in render_readme(card, folder="x")


@pytest.mark.parametrize("is_full", [True, False])
def test_onnx_graph_gives_the_probabilities_of_a_scorer(tmp_path: Path, is_full: bool) -> None:
    network = draw_narrow_network(head="coral" if is_full else "independent")
    fields: dict[str, Any] = {"good_votes": 3, "pooling": "min", "head": "independent"}
    if is_full:
        recalibration = Recalibration(slope=1.3, intercepts=(0.5, 0.1, 0.1, -0.7))
        reasons = add_reasons(network, FindingKind.MOTION, FindingKind.TOO_FAR)
        fields = {"recalibration": recalibration, "reasons": reasons}
    card, weights = make_narrow_model(network, **fields)
    noise = torch.randint(0, 256, (1, 3, 448, 448), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    photos = torch.cat([draw_pictures(), noise])

    files = export_model(card, weights, tmp_path / "model", format_="onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model" / "model.onnx", providers=["CPUExecutionProvider"])
    expected = Scorer.of(card, TorchEngine(load_network(card, weights))).score(photos)

    names = [output.name for output in session.get_outputs()]
    assert names == ["score", "cumulative", "patches"]
    for batch in (photos, photos[:1]):
        found = dict(zip(names, session.run(None, {"photos": batch.numpy()}), strict=True))
        for row, each in enumerate(expected[: len(batch)]):
            assert found["score"][row] == pytest.approx(each.score, abs=1e-4)
            assert found["cumulative"][row] == pytest.approx(each.cumulative, abs=1e-4)
            assert found["patches"][row][:, card.good_votes - 1] == pytest.approx(each.patch_scores, abs=1e-4)
    metadata = session.get_modelmeta().custom_metadata_map
    assert metadata["weights_sha256"] == card.weights_sha256
    assert files == ["weights.safetensors", "card.json", "model.onnx", "README.md"]
    assert 'session.run(None, {"photos"' in (tmp_path / "model" / "README.md").read_text()
