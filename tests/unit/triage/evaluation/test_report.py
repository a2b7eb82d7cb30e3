import base64
import re
from dataclasses import replace

import numpy as np
import pytest

from triage.evaluation.evaluate import comparison_json, evaluate
from triage.evaluation.plots import plot_learning_curve
from triage.evaluation.predictions import Predictions
from triage.evaluation.report import GalleryPhoto, render_evaluation
from triage.evaluation.sweep import sweep

FOREIGN = "<script>alert('x')</script>"


@pytest.fixture
def predictions() -> Predictions:
    random = np.random.default_rng(0)
    votes = random.integers(0, 5, 200).astype(float)
    scores = 1 / (1 + np.exp(-random.normal(votes - 2.0, 1.5)))
    return Predictions(scores, votes, None, {FOREIGN: [FOREIGN, "b"] * 100})


def test_page_escapes_markup_in_columns_and_titles(predictions: Predictions) -> None:
    page = render_evaluation(evaluate(predictions, by=[FOREIGN]), predictions, title=FOREIGN, data=FOREIGN)

    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 4  # title, heading, data, column, group


def test_page_has_no_external_resources(predictions: Predictions) -> None:
    photo = GalleryPhoto(FOREIGN, b"\xff\xd8thumbnail", 0.9, "0 of 4")
    document = evaluate(predictions)
    document["sweep"] = [row.json() for row in sweep(predictions.scores, predictions.good(2), document["threshold"])]
    page = render_evaluation(document, predictions, title="t", data="d", galleries={"worst": [photo]})

    assert set(re.findall(r"\bsrc=\"([^\"]*)\"", page)) == {
        "data:image/jpeg;base64," + base64.b64encode(photo.thumbnail).decode()
    }
    assert all(target.startswith("#") for target in re.findall(r"href=\"([^\"]*)\"", page))
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", page))
    assert page.count("<svg") == 4
    assert "This page holds photos of patients" in page
    assert "<script" not in page


def test_page_states_the_rates_in_plain_words() -> None:
    scores = np.repeat([0.7, 0.4, 0.3, 0.6], [107, 22, 40, 11])
    table = Predictions(scores, np.repeat([2, 2, 1, 1], [107, 22, 40, 11]))

    page = render_evaluation(evaluate(table, threshold=0.587), table, title="t", data="d")

    assert "Of 100 good photos, <b>83</b> pass" in page
    assert "107 of 129" in page


def test_page_gives_the_reason_when_intervals_are_withheld() -> None:
    scores = np.concatenate([np.linspace(0.1, 0.2, 10), np.linspace(0.8, 0.9, 10)])
    perfect = Predictions(scores, np.repeat([0, 4], 10), None, {"site": ["a"] * 20})
    other = Predictions(1 - scores, perfect.votes)
    found = {**evaluate(perfect, by=["site"]), "comparison": comparison_json(perfect, other)}

    page = " ".join(render_evaluation(found, perfect, title="t", data="d").split())

    assert "in <b>100</b> of 100 cases (AUC); so few photos could also mean as few as 74." in page
    assert "The AUC is at least 0.741 (exact one-sided 95 % interval)." in page
    assert page.count("withheld") == 3
    assert "95 % band" not in page
    assert "p = " not in page


def test_page_shows_the_comparison_with_another_model(predictions: Predictions) -> None:
    other = Predictions(np.random.default_rng(1).random(200), predictions.votes)
    found = {**evaluate(predictions), "comparison": comparison_json(predictions, other)}

    page = render_evaluation(found, predictions, title="t", data="d")

    assert "(DeLong's paired test)" in page
    assert "95 % band" in page


@pytest.mark.parametrize("votes", [0, 4])
def test_page_has_no_roc_curve_when_there_is_one_class(votes: int) -> None:
    few = Predictions(np.array([0.2, 0.9, 0.9]), np.array([votes] * 3))

    assert render_evaluation(evaluate(few), few, title="t", data="d").count("<svg") == 2


def test_plot_is_the_same_text_when_drawn_again() -> None:
    epochs = [
        {"number": n, "train_loss": 1 / n, "validation_loss": None if n == 1 else 1.2 / n, "validation_auc": 0.8}
        for n in (1, 2, 3)
    ]
    svg = plot_learning_curve(epochs)

    assert svg.startswith("<svg")
    assert svg == plot_learning_curve(epochs)
    assert not re.search(r"20\d\d-\d\d-\d\d", svg)


def test_page_has_a_reliability_plot_and_a_row_for_each_cut(predictions: Predictions) -> None:
    random = np.random.default_rng(0)
    cumulative = -np.sort(-random.random((200, 6)), axis=1)
    levels = (random.random((200, 1)) < cumulative).astype(float)
    each = replace(predictions, cumulative=cumulative, levels=levels, uncalibrated=cumulative**2)

    page = render_evaluation(evaluate(each), each, title="t", data="d")

    assert page.count("<td>at least ") == 6
    assert page.count("before: slope") == 1
    assert page.count("<svg") == page.count('<svg role="img" aria-label="') == 4
