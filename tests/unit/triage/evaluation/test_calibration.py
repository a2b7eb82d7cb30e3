import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression

from triage.evaluation.calibration import Platt, calibration_bins, calibration_line, fit_platt
from triage.statistics.auc import Labels, Scores
from triage.statistics.proportions import wilson_interval


def _photos(n: int, slope: float, intercept: float, seed: int = 0) -> tuple[Scores, Labels]:
    """Scores whose true recalibration is known."""
    random = np.random.default_rng(seed)
    scores = random.uniform(0.02, 0.98, n)
    return scores, random.random(n) < expit(slope * logit(scores) + intercept)


def test_fit_equals_unpenalised_logistic_regression_when_classes_overlap() -> None:
    scores, good = _photos(400, 1.3, -0.4)
    reference = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(logit(scores)[:, np.newaxis], good)

    platt = fit_platt(scores, good)

    assert platt.slope == pytest.approx(reference.coef_[0, 0], rel=1e-5)
    assert platt.intercept == pytest.approx(reference.intercept_[0], rel=1e-5)
    assert calibration_line(scores, good) == platt


def test_fit_recovers_the_parameters_when_there_are_many_photos() -> None:
    platt = fit_platt(*_photos(200_000, 0.6, 0.9))

    assert (platt.slope, platt.intercept) == pytest.approx((0.6, 0.9), abs=0.03)


def test_mean_of_recalibrated_scores_equals_the_share_of_good_photos() -> None:
    scores, good = _photos(300, 2.0, 1.0)
    platt = fit_platt(scores, good)
    again = calibration_line(platt.apply(scores), good)

    assert platt.apply(scores).mean() == pytest.approx(good.mean())
    assert again is not None
    assert (again.slope, again.intercept) == pytest.approx((1, 0), abs=1e-6)


@pytest.mark.parametrize("good", [[False, False, True, True], [True, True, False, False]])
def test_fit_is_finite_and_in_order_when_scores_separate_perfectly(good: list[bool]) -> None:
    scores = np.array([0.0, 0.3, 0.6, 1.0])
    platt = fit_platt(scores, good)
    calibrated = platt.apply(scores)

    assert np.isfinite([platt.slope, platt.intercept]).all()
    assert (platt.slope > 0) == good[-1]
    assert ((calibrated > 0) & (calibrated < 1)).all()
    assert calibrated.mean() == pytest.approx(0.5)  # of the targets 3/4 and 1/4
    assert calibration_line(scores, good) is None


def test_fit_stays_finite_when_classes_only_touch() -> None:
    platt = fit_platt([0.2, 0.5, 0.5, 0.8], [False, False, True, True])

    assert 0 < platt.slope < 10


def test_fit_equals_logistic_regression_when_some_scores_are_zero_or_one() -> None:
    scores = np.array([0.0, 0.0, 1.0, 1.0, 0.5, 0.4, 1.0, 0.0])
    good = np.array([False, False, True, True, True, False, False, True])
    x = logit(np.clip(scores, 1e-12, 1 - 1e-12))[:, np.newaxis]
    reference = LogisticRegression(C=np.inf, tol=1e-12, max_iter=10_000).fit(x / 27, good)

    platt = fit_platt(scores, good)

    assert platt.slope == pytest.approx(reference.coef_[0, 0] / 27, rel=1e-3)


def test_fit_has_slope_zero_when_all_scores_are_equal() -> None:
    platt = fit_platt([0.4] * 4, [True, True, True, False])

    assert platt.slope == 0
    assert_allclose(platt.apply([0.4]), [0.75])
    assert calibration_line([0.4] * 4, [True, True, True, False]) is None


def test_fit_uses_platts_targets_when_there_is_one_class() -> None:
    platt = fit_platt([0.2, 0.5, 0.9], [True, True, True])

    assert_allclose(platt.apply([0.2, 0.5, 0.9]), 0.8, atol=1e-6)
    assert calibration_line([0.2, 0.5, 0.9], [True, True, True]) is None


def test_identity_changes_nothing_when_applied() -> None:
    scores = np.linspace(0, 1, 11)

    assert_allclose(Platt(1, 0).apply(scores), scores, atol=1e-11)


def test_fit_raises_when_there_are_no_photos() -> None:
    with pytest.raises(ValueError, match="no photos"):
        fit_platt([], [])
    assert calibration_line([], []) is None
    assert calibration_bins([], []) == []


def test_bins_have_equal_counts_when_scores_differ() -> None:
    scores, good = _photos(250, 1, 0)
    order = np.argsort(scores)

    bins = calibration_bins(scores, good)

    assert [b.n for b in bins] == [25] * 10
    for number, b in enumerate(bins):
        chosen = order[25 * number : 25 * number + 25]
        assert b.predicted == pytest.approx(scores[chosen].mean())
        assert b.observed == good[chosen].mean()
        assert b.interval == wilson_interval(int(good[chosen].sum()), 25)


def test_equal_scores_share_a_bin_when_they_are_many() -> None:
    scores, good = [0.1] * 6 + [0.9] * 4, [True, False] * 5

    bins = calibration_bins(scores, good)

    assert [(b.n, b.observed) for b in bins] == [(6, 0.5), (4, 0.5)]
    assert [b.predicted for b in bins] == pytest.approx([0.1, 0.9])
