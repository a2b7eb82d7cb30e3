from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.stats import norm
from sklearn import metrics

from triage.statistics.auc import (
    Labels,
    Scores,
    auc,
    bootstrap_interval,
    compare,
    delong,
    delong_interval,
    hanley_mcneil_error,
    hanley_mcneil_interval,
    roc_band,
    roc_curve,
)
from triage.statistics.resampling import MAX_GROUPS, group_scores

TIED = st.lists(st.tuples(st.integers(0, 20), st.booleans()), min_size=2, max_size=60).filter(
    lambda rows: 0 < sum(label for _, label in rows) < len(rows)
)


def _photos(n: int, seed: int = 0, *, digits: int = 16) -> tuple[Scores, Labels]:
    """Scores that overlap; few digits make ties."""
    random = np.random.default_rng(seed)
    good = random.random(n) < 0.7
    return np.round(1 / (1 + np.exp(-random.normal(1.2 * good, 1))), digits), good


def _arrays(rows: list[tuple[int, bool]]) -> tuple[Scores, Labels]:
    return np.array([score / 20 for score, _ in rows]), np.array([label for _, label in rows])


def _components(scores: Scores, good: Labels) -> tuple[Scores, Scores]:
    """DeLong's structural components as defined, one pair of photos at a time."""
    high, low = scores[good][:, np.newaxis], scores[~good]
    wins = (high > low) + 0.5 * (high == low)  # (n_good, n_bad)
    return wins.mean(axis=1), wins.mean(axis=0)


@pytest.mark.parametrize("digits", [1, 2, 16])
def test_auc_and_curve_equal_those_of_scikit_learn_when_scores_are_tied_or_not(digits: int) -> None:
    scores, good = _photos(500, digits=digits)

    curve = roc_curve(scores, good)
    false_positive_rate, sensitivity, thresholds = metrics.roc_curve(good, scores, drop_intermediate=False)

    assert auc(scores, good) == pytest.approx(metrics.roc_auc_score(good, scores), abs=1e-12)
    assert_allclose(curve.false_positive_rate, false_positive_rate)
    assert_allclose(curve.sensitivity, sensitivity)
    assert_allclose(curve.thresholds, thresholds)


@pytest.mark.parametrize("digits", [1, 16])
def test_delong_equals_the_structural_components_when_scores_are_tied_or_not(digits: int) -> None:
    scores, good = _photos(180, digits=digits)
    of_good, of_bad = _components(scores, good)
    error = np.sqrt(of_good.var(ddof=1) / len(of_good) + of_bad.var(ddof=1) / len(of_bad))

    area = delong(scores, good)

    assert area.auc == pytest.approx(of_good.mean())
    assert area.standard_error == pytest.approx(error)
    assert area.interval == pytest.approx((area.auc - norm.ppf(0.975) * error, area.auc + norm.ppf(0.975) * error))
    assert delong_interval(scores, good) == area.interval


def test_comparison_equals_the_covariance_of_the_structural_components() -> None:
    scores, good = _photos(180)
    other = np.round(scores + np.random.default_rng(1).normal(0, 0.3, len(scores)), 1)
    pairs = [_components(values, good) for values in (scores, other)]
    covariance: Any = sum(np.cov([pairs[0][side], pairs[1][side]]) / len(pairs[0][side]) for side in (0, 1))
    error = np.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])

    found = compare(scores, other, good)

    difference = pairs[0][0].mean() - pairs[1][0].mean()
    assert found.auc - found.other_auc == found.difference == pytest.approx(difference)
    assert found.difference > 0.01
    assert found.interval == pytest.approx((difference - 1.959964 * error, difference + 1.959964 * error))
    assert found.p_value == pytest.approx(2 * norm.sf(difference / error))


def test_comparison_finds_no_difference_between_a_model_and_itself() -> None:
    scores, good = _photos(50)

    found = compare(scores, scores, good)

    assert (found.difference, found.interval, found.p_value) == (0, (0, 0), 1)


def test_intervals_have_full_width_when_a_class_has_one_photo() -> None:
    scores, good = np.array([0.2, 0.4, 0.9]), np.array([True, False, True])

    assert delong(scores, good).standard_error is None
    assert delong_interval(scores, good) == (0, 1)
    assert compare(scores, scores[::-1], good).interval == (-1, 1)
    assert compare(scores, scores[::-1], good).p_value == 1


def test_hanley_mcneil_gives_the_published_interval_when_given_the_published_auc() -> None:
    assert hanley_mcneil_error(0.885, 129, 51) == pytest.approx(0.0241, abs=5e-5)
    assert hanley_mcneil_interval(0.885, 129, 51) == pytest.approx((0.838, 0.933), abs=1e-3)


def test_bootstrap_equals_a_plain_resampling_when_both_have_many_resamples() -> None:
    scores, good = _photos(120, digits=2)
    random = np.random.default_rng(5)
    plain = [
        metrics.roc_auc_score(
            np.repeat([True, False], [good.sum(), (~good).sum()]),
            np.concatenate([random.choice(scores[mask], mask.sum()) for mask in (good, ~good)]),
        )
        for _ in range(2000)
    ]

    interval = bootstrap_interval(scores, good, n_resamples=20_000)

    assert interval == pytest.approx(tuple(np.quantile(plain, [0.025, 0.975])), abs=0.01)
    assert interval == bootstrap_interval(scores, good, n_resamples=20_000)
    assert interval != bootstrap_interval(scores, good, n_resamples=20_000, seed=1)


def test_bootstrap_agrees_with_delong_when_scores_are_too_many_to_resample_each() -> None:
    scores, good = _photos(20_000)

    assert len(group_scores(scores, good).good) <= MAX_GROUPS
    assert bootstrap_interval(scores, good) == pytest.approx(delong_interval(scores, good), abs=1e-3)


def test_band_contains_the_curve_and_narrows_when_there_are_more_photos() -> None:
    widths = []
    for n in (200, 5000):
        scores, good = _photos(n)
        curve, band = roc_curve(scores, good), roc_band(scores, good)
        on_grid = np.interp(band.false_positive_rate, curve.false_positive_rate, curve.sensitivity)
        inner = slice(5, -5)
        assert (band.lower[inner] <= on_grid[inner]).all()
        assert (on_grid[inner] <= band.upper[inner]).all()
        widths.append(float((band.upper - band.lower).mean()))
    assert 0 < widths[1] < widths[0] / 3


@given(TIED)
def test_auc_is_invariant_under_monotone_maps_of_the_scores(rows: list[tuple[int, bool]]) -> None:
    scores, good = _arrays(rows)

    assert auc(np.exp(3 * scores) - 7, good) == auc(scores, good)


@given(TIED)
def test_auc_is_mirrored_when_scores_or_labels_are_reversed(rows: list[tuple[int, bool]]) -> None:
    scores, good = _arrays(rows)

    assert auc(-scores, good) == pytest.approx(1 - auc(scores, good))
    assert auc(scores, ~good) == pytest.approx(1 - auc(scores, good))


@given(TIED)
def test_area_under_the_points_is_the_auc_when_scores_are_tied(rows: list[tuple[int, bool]]) -> None:
    scores, good = _arrays(rows)
    curve = roc_curve(scores, good)

    assert np.trapezoid(curve.sensitivity, curve.false_positive_rate) == pytest.approx(auc(scores, good))
    assert group_scores(scores, good).auc == pytest.approx(auc(scores, good))


@pytest.mark.parametrize(
    ("scores", "good"),
    [([0.5, 0.6], [True, True]), ([0.5], [True, False]), ([np.nan, 0.6], [True, False]), ([[0.5]], [[True]])],
)
def test_measures_raise_when_a_class_is_empty(scores: Any, good: Any) -> None:
    for measure in (auc, roc_curve, delong, bootstrap_interval, roc_band):
        with pytest.raises(ValueError, match=r"same shape|not finite|one good and one bad"):
            measure(scores, good)
