from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.stats import binomtest, norm
from sklearn import metrics

from triage.statistics.auc import (
    Labels,
    Scores,
    auc,
    bootstrap_interval,
    compare,
    delong,
    exact_interval,
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


def test_comparison_agrees_with_a_paired_bootstrap_when_there_are_many_photos() -> None:
    scores, good = _photos(400)
    random = np.random.default_rng(1)
    other = scores + random.normal(0, 0.3, len(scores))
    own_wins, other_wins = (values[good][:, np.newaxis] > values[~good] for values in (scores, other))
    gained = own_wins.astype(np.float64) - other_wins  # (n_good, n_bad)
    rows, columns = (random.integers(0, size, (1000, size)) for size in gained.shape)
    differences = [gained[np.ix_(of_good, of_bad)].mean() for of_good, of_bad in zip(rows, columns, strict=True)]

    found = compare(scores, other, good)

    assert found.interval == pytest.approx(tuple(np.quantile(differences, [0.025, 0.975])), abs=0.01)


PERFECT = np.array([0.1, 0.2, 0.3, 0.7, 0.8, 0.9])
HALF_GOOD = np.repeat([False, True], 3)
WORSE = np.array([0.1, 0.8, 0.3, 0.7, 0.2, 0.9])


@pytest.mark.parametrize(
    ("scores", "other", "reason"),
    [
        (PERFECT, PERFECT[::-1], "exactly 0 or 1"),
        (PERFECT, WORSE, "exactly 0 or 1"),
        (WORSE, 1 - PERFECT, "exactly 0 or 1"),
        (WORSE, WORSE**2, "both models rank"),
    ],
)
def test_comparison_is_withheld_when_its_variance_says_nothing(scores: Scores, other: Scores, reason: str) -> None:
    """pROC warns likewise that the test of curves with an AUC of 1 is misleading (xrobin/pROC, `roc.test`)."""
    found = compare(scores, other, HALF_GOOD)

    assert found.difference == pytest.approx(
        metrics.roc_auc_score(HALF_GOOD, scores) - metrics.roc_auc_score(HALF_GOOD, other)
    )
    assert (found.interval, found.p_value) == (None, None)
    assert reason in (found.withheld or "")


@pytest.mark.parametrize(
    ("scores", "good", "reason"),
    [
        (PERFECT, HALF_GOOD, "overlap"),
        (PERFECT[::-1], HALF_GOOD, "overlap"),
        (np.full(6, 0.4), HALF_GOOD, "equal"),
        (PERFECT, np.arange(6) == 3, "one photo"),
    ],
)
def test_delong_is_withheld_when_its_variance_is_zero_or_unknown(scores: Scores, good: Labels, reason: str) -> None:
    area = delong(scores, good)

    assert area.auc == pytest.approx(metrics.roc_auc_score(good, scores))
    assert (area.standard_error, area.interval) == (None, None)
    assert reason in (area.withheld or "")
    assert compare(scores, scores, good).withheld is not None


@pytest.mark.parametrize(("n_good", "n_bad"), [(1, 1), (1, 9), (10, 10), (129, 51)])
def test_exact_interval_equals_the_binomial_one_of_scipy_when_the_classes_are_separated(
    n_good: int, n_bad: int
) -> None:
    scores, good = np.arange(n_good + n_bad) / 1000, np.repeat([False, True], [n_bad, n_good])
    pairs = min(n_good, n_bad)
    low = binomtest(pairs, pairs, alternative="greater").proportion_ci(0.95, "exact").low

    assert exact_interval(scores, good) == pytest.approx((low, 1))
    assert exact_interval(-scores, good) == pytest.approx((0, 1 - low))
    assert exact_interval(np.where(good, scores, 1), good) == pytest.approx((0, 1 - low))


def test_exact_interval_is_for_separated_scores_only() -> None:
    assert exact_interval(WORSE, HALF_GOOD) is None
    assert exact_interval(np.full(6, 0.4), HALF_GOOD) is None
    assert exact_interval(np.array([0.1, 0.2, 0.5, 0.5, 0.8, 0.9]), HALF_GOOD) is None  # a tie is half an error


@pytest.mark.parametrize("n_bad", [10, 40])
def test_exact_interval_misses_the_auc_in_at_most_five_of_a_hundred_samples(n_bad: int) -> None:
    """The worst distribution: some bad photos score above all good ones, which a small sample may not contain."""
    random = np.random.default_rng(0)
    bound = 0.05 ** (1 / 10)
    for truth in (bound - 0.001, bound + 0.001):
        missed = 0
        for _ in range(2000):
            of_bad = np.where(random.random(10) < truth, random.random(10), 2 + random.random(10))
            of_good = 1 + random.random(n_bad)
            interval = exact_interval(np.concatenate([of_bad, of_good]), np.repeat([False, True], [10, n_bad]))
            missed += interval is not None and not interval[0] <= truth <= interval[1]
        assert missed == 0 if truth > bound else 0.04 < missed / 2000 < 0.06


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
        for _ in range(1000)
    ]

    interval = bootstrap_interval(scores, good, n_resamples=5000)

    assert interval == pytest.approx(tuple(np.quantile(plain, [0.025, 0.975])), abs=0.01)
    assert interval == bootstrap_interval(scores, good, n_resamples=5000)
    assert interval != bootstrap_interval(scores, good, n_resamples=5000, seed=1)


def test_bootstrap_agrees_with_delong_when_scores_are_too_many_to_resample_each() -> None:
    scores, good = _photos(20_000)

    assert len(group_scores(scores, good).good) <= MAX_GROUPS
    assert bootstrap_interval(scores, good) == pytest.approx(delong(scores, good).interval, abs=1e-3)


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
