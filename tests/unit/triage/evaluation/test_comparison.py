"""Two models on the same photos."""

from dataclasses import replace

import numpy as np
import pytest

from triage.errors import UsageError
from triage.evaluation.comparison import Candidate, compare_models
from triage.evaluation.evaluate import comparison_json
from triage.evaluation.predictions import Predictions
from triage.evaluation.report import render_comparison

_RANDOM = np.random.default_rng(0)
_VOTES = _RANDOM.integers(0, 5, 200).astype(float)
_IDS = [f"{row}.jpg" for row in range(200)]


def _model(noise: float) -> Predictions:
    scores = 1 / (1 + np.exp(-_RANDOM.normal(_VOTES - 2.0, noise)))
    return Predictions(scores, _VOTES, ids=_IDS)


BETTER, WORSE = _model(1.0), _model(4.0)


def test_photos_are_joined_by_their_ids_when_the_order_differs() -> None:
    order = _RANDOM.permutation(200)
    shuffled = Predictions(WORSE.scores[order], _VOTES[order], ids=[_IDS[row] for row in order])

    found = compare_models(Candidate("a", BETTER, 0.5), Candidate("b", shuffled, 0.5))

    expected = comparison_json(BETTER, WORSE)
    assert found["difference"] == pytest.approx(expected["difference"])
    assert found["p_value"] == pytest.approx(expected["p_value"])
    assert found["permutation_p_value"] < 0.01
    assert found["cautions"] == []


def test_sides_are_counted_for_good_and_for_bad_photos() -> None:
    found = compare_models(Candidate("a", BETTER, 0.5), Candidate("b", WORSE, 0.7))

    one, other, good = BETTER.scores >= 0.5, WORSE.scores >= 0.7, _VOTES >= 2
    for name, chosen in (("good", good), ("bad", ~good)):
        assert found["reclassification"][name] == {
            "both_pass": (one & other & chosen).sum(),
            "only_one_passes": (one & ~other & chosen).sum(),
            "only_other_passes": (~one & other & chosen).sum(),
            "both_fail": (~one & ~other & chosen).sum(),
        }
    changed = found["changed"]
    assert {each["photo"] for each in changed} == {_IDS[row] for row in np.flatnonzero(one != other)}
    distances = [abs(each["one"] - each["other"]) for each in changed]
    assert distances == sorted(distances, reverse=True)


def test_comparison_is_refused_when_photos_or_votes_differ() -> None:
    fewer = Predictions(WORSE.scores[1:], _VOTES[1:], ids=_IDS[1:])
    others = Predictions(WORSE.scores, 4 - _VOTES, ids=_IDS)
    for other, says in (
        (fewer, r"1 photos are in one of the predictions only, such as 0\.jpg"),
        (others, "the votes on the same photos differ"),
        (replace(WORSE, ids=()), "lack the column path"),
        (replace(WORSE, ids=["x"] * 200), "twice"),
    ):
        with pytest.raises(UsageError, match=says):
            compare_models(Candidate("a", BETTER), Candidate("b", other))


def test_permutation_test_finds_nothing_when_the_models_are_equally_good() -> None:
    values = [
        compare_models(Candidate("a", _model(2.0), 0.5), Candidate("b", _model(2.0), 0.5), seed=seed)[
            "permutation_p_value"
        ]
        for seed in range(20)
    ]

    assert sum(value < 0.05 for value in values) <= 4


def test_reader_is_warned_when_there_are_few_photos() -> None:
    rows = slice(0, 40)
    one, other = (Predictions(each.scores[rows], _VOTES[rows], ids=_IDS[rows]) for each in (BETTER, WORSE))

    found = compare_models(Candidate("a", one), Candidate("b", other))

    assert any("a threshold was chosen on" in caution for caution in found["cautions"])


def test_page_shows_both_models_without_a_script() -> None:
    one, other = Candidate("<script>a$x$", BETTER, 0.5), Candidate("<script>a$x$", WORSE, 0.5)

    page = render_comparison(compare_models(one, other), one, other)

    assert "<script" not in page
    assert page.count("&lt;script&gt;a") == 2
    assert page.count("<svg") == 1
