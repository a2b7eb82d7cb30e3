import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import cohen_kappa_score

from triage.errors import UsageError
from triage.evaluation.evaluate import comparison_json, evaluate
from triage.evaluation.operating_point import RATES
from triage.evaluation.predictions import Predictions
from triage.statistics.prevalence import PAPER_GOOD_SHARE


def _table(tp: int, fn: int, tn: int, fp: int, columns: dict[str, Sequence[str]] | None = None) -> Predictions:
    """Photos with the paper's counts at a threshold of 0.587; good ones have two votes, bad ones one."""
    scores = np.repeat([0.7, 0.4, 0.3, 0.6], [tp, fn, tn, fp])
    return Predictions(scores, np.repeat([2.0, 2.0, 1.0, 1.0], [tp, fn, tn, fp]), None, columns or {})


def _random(n: int, seed: int = 0) -> Predictions:
    random = np.random.default_rng(seed)
    votes = random.integers(0, 5, n).astype(float)
    scores = 1 / (1 + np.exp(-random.normal(votes - 2.0, 1.5)))
    return Predictions(scores, votes, scores + random.normal(0, 0.2, n), {"source": ["a", "b"] * (n // 2)})


@pytest.mark.parametrize(
    ("counts", "published"),
    [((107, 22, 40, 11), (0.829, 0.784, 0.907, 0.645)), ((211, 44, 36, 9), (0.827, 0.800, 0.959, 0.450))],
)
def test_evaluation_equals_the_papers_table_when_its_counts_are_given(
    counts: tuple[int, int, int, int], published: tuple[float, ...]
) -> None:
    found = evaluate(_table(*counts), threshold=0.587)

    assert tuple(found[name] for name in ("tp", "fn", "tn", "fp")) == counts
    assert tuple(round(found[name], 3) for name in RATES[:4]) == published
    assert found["needless_retake_share"] == counts[1] / (counts[1] + counts[2])
    assert (found["n"], found["n_good"], found["n_bad"]) == (sum(counts), counts[0] + counts[1], counts[2] + counts[3])
    assert (found["threshold"], found["threshold_chosen_by"]) == (0.587, "given")
    assert all(low < found[name] < high for name, (low, high) in found["intervals"].items())
    assert list(found["intervals"]) == list(RATES)


def test_document_has_the_named_keys_and_is_json_when_every_option_is_used() -> None:
    found = evaluate(_random(400), by=["source"])

    named = "n n_good n_bad threshold auc auc_ci tp fn tn fp sensitivity specificity ppv npv intervals calibration"
    assert {*named.split(), "prevalence_adjusted", "groups", "correlation", "needless_retake_share"} <= set(found)
    assert list(found["auc_ci"]) == ["delong", "hanley_mcneil", "bootstrap"]
    for low, high in found["auc_ci"].values():
        assert 0 < low < found["auc"] < high < 1
    assert {"slope", "intercept", "bins"} <= set(found["calibration"])
    assert sum(b["n"] for b in found["calibration"]["bins"]) == 400
    assert found["threshold_chosen_by"] == "Youden's index"
    assert found["prevalence_adjusted"]["good_share"] == PAPER_GOOD_SHARE
    bayes, resampled = (found["prevalence_adjusted"][name] for name in ("bayes", "resampled"))
    assert {name: resampled[name]["mean"] for name in bayes} == pytest.approx(bayes, abs=0.01)
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_groups_add_up_to_the_whole_when_split_by_a_column() -> None:
    found = evaluate(_random(400), by=["source"])
    groups = found["groups"]["source"]

    assert list(groups) == ["a", "b"]
    for name in ("n", "n_good", "tp", "fn", "tn", "fp"):
        assert sum(group[name] for group in groups.values()) == found[name]
    for group in groups.values():
        assert group["auc_ci"]["delong"][0] < group["auc"] < group["auc_ci"]["delong"][1]
        assert group["needless_retake_share"] == group["fn"] / (group["fn"] + group["tn"])
        assert set(group["intervals"]) == set(RATES)


def test_correlations_equal_those_of_scipy_when_there_are_ratings() -> None:
    predictions = _random(300)
    ratings = predictions.ratings
    assert ratings is not None

    assert evaluate(predictions)["correlation"] == pytest.approx(
        {
            "srcc": stats.spearmanr(predictions.scores, ratings).statistic,
            "plcc": stats.pearsonr(predictions.scores, ratings).statistic,
        }
    )
    assert evaluate(_table(3, 1, 2, 1))["correlation"] is None


@pytest.mark.parametrize("votes", [0, 4])
def test_auc_is_null_when_there_is_one_class(votes: int) -> None:
    found = evaluate(Predictions(np.array([0.2, 0.9, 0.9]), np.array([votes] * 3)))

    assert found["auc"] is None
    assert set(found["auc_ci"].values()) == {None}
    assert found["prevalence_adjusted"] is None
    assert (found["sensitivity"] is None) == (votes == 0)
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_intervals_are_withheld_with_the_reason_when_the_scores_separate_the_classes() -> None:
    scores = np.concatenate([np.linspace(0.1, 0.2, 10), np.linspace(0.8, 0.9, 12)])
    perfect = Predictions(scores, np.repeat([0, 4], [10, 12]), None, {"site": ["a"] * 22})

    found = evaluate(perfect, by=["site"])

    for part in (found, found["groups"]["site"]["a"]):
        assert part["auc"] == 1
        assert set(part["auc_ci"].values()) == {None}
        assert "variance is 0" in part["auc_ci_withheld"]
        assert part["auc_exact_ci"] == [pytest.approx(0.05 ** (1 / 10)), 1]
    assert found["auc_ci"].keys() == evaluate(_random(40))["auc_ci"].keys()
    compared = comparison_json(perfect, Predictions(1 - scores, perfect.votes))
    assert (compared["difference"], compared["interval"], compared["p_value"]) == (1, None, None)
    assert "exactly 0 or 1" in compared["withheld"]
    assert evaluate(_random(400))["auc_ci_withheld"] is None
    assert evaluate(_random(400))["auc_exact_ci"] is None


def test_threshold_reaches_the_target_ppv() -> None:
    found = evaluate(_random(400), target_ppv=0.95)

    assert found["ppv"] >= 0.95
    assert found["threshold_chosen_by"] == "PPV of at least 0.95"
    with pytest.raises(UsageError, match="no threshold reaches"):
        evaluate(_table(0, 3, 0, 5), target_ppv=0.95)


def test_more_photos_are_bad_when_good_votes_is_higher() -> None:
    n_good = [evaluate(_random(200), good_votes=votes)["n_good"] for votes in (1, 2, 3, 4)]

    assert n_good == sorted(n_good, reverse=True)
    assert len(set(n_good)) == 4


def test_comparison_favours_the_better_model_when_both_saw_the_same_photos() -> None:
    better = _random(400)
    noise = np.random.default_rng(9).random(400)
    worse = Predictions(0.5 * better.scores + 0.5 * noise, better.votes)

    found = comparison_json(better, worse)

    assert 0 < found["interval"][0] < found["difference"] < found["interval"][1]
    assert found["p_value"] < 0.01
    assert found["auc"] - found["other_auc"] == pytest.approx(found["difference"])
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_intervals_by_patient_are_wider_when_patients_have_several_photos() -> None:
    few = _random(60)
    scores, votes = np.repeat(few.scores, 3), np.repeat(few.votes, 3)
    patients = [f"p-{row // 3}" for row in range(180)]

    found = evaluate(Predictions(scores, votes, patients=patients), threshold=0.5)

    by_patient = found["by_patient"]
    assert by_patient["n_patients"] == 60
    for wide, narrow in [
        (by_patient["auc_ci"], found["auc_ci"]["delong"]),
        *((by_patient["intervals"][name], found["intervals"][name]) for name in RATES),
    ]:
        assert wide[1] - wide[0] > 1.3 * (narrow[1] - narrow[0])


def test_intervals_by_patient_are_left_out_when_each_patient_has_one_photo() -> None:
    some = _random(60)

    assert evaluate(some)["by_patient"] is None
    assert evaluate(replace(some, patients=[f"p-{row}" for row in range(60)]))["by_patient"] is None


def test_grades_agree_with_votes_as_quadratic_kappa_says() -> None:
    some = _random(200)
    grades = np.clip(some.votes + np.resize([0, 1, -1], 200), 0, 4)

    assert evaluate(some)["grade_kappa"] is None
    assert evaluate(replace(some, grades=some.votes))["grade_kappa"] == pytest.approx(1)
    expected = cohen_kappa_score(grades, some.votes, weights="quadratic")
    assert evaluate(replace(some, grades=grades))["grade_kappa"] == pytest.approx(expected)


def test_each_cut_is_evaluated_when_its_probabilities_are_known() -> None:
    random = np.random.default_rng(1)
    cumulative = -np.sort(-random.random((300, 4)), axis=1)
    levels = (random.random((300, 1)) < cumulative).astype(float)
    levels[:100, 2] = np.nan  # of 100 photos a vote is missing
    votes = levels[:, [0, 1, 3]].sum(axis=1)
    table = Predictions(cumulative[:, 1], votes, cumulative=cumulative, levels=levels, uncalibrated=cumulative**2)

    found = evaluate(table)

    cuts, before = found["calibration"]["by_cut"], found["calibration_before"]
    assert [(cut["votes"], cut["n"]) for cut in cuts] == [(1, 300), (2, 300), (3, 200), (4, 300)]
    assert [cut["slope"] for cut in cuts] == pytest.approx([1] * 4, abs=0.4)
    for number, (cut, earlier) in enumerate(zip(cuts, before["by_cut"], strict=True)):
        known = ~np.isnan(levels[:, number])
        error = cumulative[known, number] - levels[known, number]
        assert cut["brier"] == pytest.approx(np.mean(error**2))
        assert cut["brier"] < earlier["brier"]
    assert before["slope"] < 0.8 * cuts[1]["slope"]
    assert evaluate(_random(40))["calibration"]["by_cut"] is None
