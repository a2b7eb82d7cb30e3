import numpy as np
import pytest

from triage.evaluation.operating_point import count_at
from triage.statistics.auc import auc
from triage.statistics.prevalence import PAPER_GOOD_SHARE, at_prevalence, resampled
from triage.statistics.resampling import MAX_GROUPS, group_scores


def test_bayes_gives_the_published_values_when_the_adjusted_rates_are_given() -> None:
    assert at_prevalence(0.818, 0.823, PAPER_GOOD_SHARE) == pytest.approx({"ppv": 0.926, "npv": 0.626}, abs=5e-4)


def test_bayes_returns_the_observed_rates_at_the_observed_share() -> None:
    assert at_prevalence(107 / 129, 40 / 51, 129 / 180) == pytest.approx({"ppv": 107 / 118, "npv": 40 / 62})


def test_bayes_is_none_when_no_photo_passes_or_all_pass() -> None:
    assert at_prevalence(0, 1, 0.7) == {"ppv": None, "npv": pytest.approx(0.3)}
    assert at_prevalence(1, 0, 0.7) == {"ppv": pytest.approx(0.7), "npv": None}


@pytest.mark.parametrize("n", [300, 20_000])
def test_resampling_agrees_with_bayes(n: int) -> None:
    random = np.random.default_rng(2)
    good = random.random(n) < 0.85
    scores = random.normal(1.5 * good, 1)
    counts = count_at(scores, good, 0.6)
    sensitivity, specificity = counts.sensitivity.value or 0, counts.specificity.value or 0

    found = {name: spread or {} for name, spread in resampled(scores, good, 0.6, 0.73).items()}

    assert list(found) == ["auc", "ppv", "sensitivity", "npv", "specificity"]
    by_bayes = at_prevalence(sensitivity, specificity, 0.73)
    expected = {"auc": auc(scores, good), "sensitivity": sensitivity, "specificity": specificity, **by_bayes}
    assert {name: spread["mean"] for name, spread in found.items()} == pytest.approx(expected, abs=0.005)
    n_good = round(0.73 * n)
    assert found["sensitivity"]["sd"] == pytest.approx(np.sqrt(sensitivity * (1 - sensitivity) / n_good), rel=0.1)
    assert found["specificity"]["sd"] == pytest.approx(np.sqrt(specificity * (1 - specificity) / (n - n_good)), rel=0.1)
    assert resampled(scores, good, 0.6, 0.73) == found
    assert resampled(scores, good, 0.6, 0.73, seed=1) != found


def test_rates_are_numbers_or_none_when_all_photos_pass() -> None:
    found = resampled([0.2, 0.8, 0.6], [False, True, True], 0.0, 0.5)

    assert found["npv"] is None
    assert found["sensitivity"] == {"mean": 1, "sd": 0}
    assert found["specificity"] == {"mean": 0, "sd": 0}


def test_pooled_scores_never_cross_the_threshold_when_there_are_many() -> None:
    random = np.random.default_rng(3)
    scores, good = random.random(5000), random.random(5000) < 0.6
    counts = count_at(scores, good, 0.4321)

    groups = group_scores(scores, good, 0.4321)

    assert 900 < len(groups.good) <= MAX_GROUPS
    assert (groups.good[groups.accepted].sum(), groups.bad[groups.accepted].sum()) == (counts.tp, counts.fp)
    assert (groups.good[~groups.accepted].sum(), groups.bad[~groups.accepted].sum()) == (counts.fn, counts.tn)
    assert groups.auc == pytest.approx(auc(scores, good), abs=1e-4)
