"""A model's card on a terminal."""

import numpy as np
import pytest

from tests.support.narrow_model import add_reasons, draw_narrow_network, make_narrow_model
from triage.domain.states import FindingKind
from triage.evaluation.card_page import render_card
from triage.evaluation.evaluate import evaluate
from triage.evaluation.predictions import Predictions
from worker.cli.card_text import print_card


def test_card_shows_what_people_read_and_no_weights(capsys: pytest.CaptureFixture[str]) -> None:
    network = draw_narrow_network()
    reasons = add_reasons(network, FindingKind.DEFOCUS)
    evaluation = evaluate(Predictions(np.array([0.1, 0.9, 0.2, 0.8]), np.array([0.0, 4.0, 1.0, 3.0])), threshold=0.5)
    settings = {"region_of_interest": True, "flips": False, "target_ppv": None}
    card, _ = make_narrow_model(network, reasons=reasons, metrics={"test": evaluation}, training_settings=settings)

    print_card(card)

    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "model narrow"
    shown = {tuple(line.split()) for line in lines}
    assert ("region_of_interest", "yes") in shown
    assert ("flips", "no") in shown
    assert ("target_ppv", "not", "set") in shown
    assert any(line.startswith("test") and "1.000" in line for line in lines)
    assert any(line.startswith("reasons") and line.endswith("defocus") for line in lines)
    assert len(lines) < 60
    assert ">yes<" in render_card(card)
    assert ">True<" not in render_card(card)


def test_card_without_an_evaluation_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    print_card(make_narrow_model(trained=False)[0])

    out = capsys.readouterr().out
    assert out.startswith("model narrow, never trained: its scores are meaningless\n")
    assert "no evaluation is recorded" in out
