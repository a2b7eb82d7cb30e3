import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, logit

from triage.errors import UsageError
from triage.evaluation.calibration import calibration_line
from triage.evaluation.recalibration import fit_recalibration, undo_recalibration
from triage.statistics.arrays import Floats


def _drawn(n: int, slope: float, intercepts: tuple[float, ...], seed: int = 0) -> tuple[Floats, Floats]:
    """Cumulative probabilities, and votes that need this recalibration: (n, K) each."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(n, 1)) * 2 + np.linspace(1, -1, len(intercepts))
    return expit(x), (random.random((n, 1)) < expit(slope * x + np.array(intercepts))).astype(np.float64)


def test_parameters_are_recovered_when_there_are_many_photos() -> None:
    found = fit_recalibration(*_drawn(50_000, 0.6, (1.0, 0.4, 0.2, -1.5)))

    assert found.slope == pytest.approx(0.6, abs=0.02)
    assert found.intercepts == pytest.approx((1.0, 0.4, 0.2, -1.5), abs=0.05)


def test_every_cut_is_calibrated_where_one_intercept_for_all_is_not() -> None:
    cumulative, levels = _drawn(50_000, 1.0, (1.5, 0.5, -0.5, -1.5))
    found = fit_recalibration(cumulative, levels)

    for cut, intercept in enumerate((1.5, 0.5, -0.5, -1.5)):
        outcomes = levels[:, cut] == 1
        before = calibration_line(cumulative[:, cut], outcomes)
        after = calibration_line(expit(found.slope * logit(cumulative[:, cut]) + found.intercepts[cut]), outcomes)
        assert before is not None
        assert after is not None
        assert before.intercept == pytest.approx(intercept, abs=0.1)
        assert after.intercept == pytest.approx(0, abs=0.05)


def test_open_cuts_are_left_out_and_other_cuts_of_the_photo_count() -> None:
    cumulative, levels = _drawn(400, 1.3, (0.5, 0.0, -0.5))
    levels[:200, 2] = np.nan
    cumulative[:200, 2] = 0.999  # would change the fit if it counted

    found, last = fit_recalibration(cumulative, levels), levels.copy()
    last[:200, 2] = 0
    assert found.intercepts[2] == pytest.approx(-0.5, abs=0.5)
    assert fit_recalibration(cumulative, last).intercepts[2] < found.intercepts[2] - 0.5


@given(st.integers(1, 12), st.integers(1, 6), st.integers(0, 2**16))
def test_intercepts_are_finite_and_never_rise_when_photos_are_few(n: int, n_outputs: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    cumulative = -np.sort(-random.random((n, n_outputs)).round(2), axis=1)
    votes = random.integers(0, n_outputs + 1, (n, 1))
    levels = np.where(random.random((n, n_outputs)) < 0.1, np.nan, votes >= np.arange(1, n_outputs + 1))

    try:
        found = fit_recalibration(cumulative, levels)
    except UsageError as error:
        assert "no photo" in str(error) or "fewer votes" in str(error)  # noqa: PT017  # either outcome is right
        return
    assert np.isfinite([found.slope, *found.intercepts]).all()
    assert list(found.intercepts) == sorted(found.intercepts, reverse=True)


@pytest.mark.parametrize("votes", [[2, 2, 4], [0, 0, 4], [0, 4, 4]])
def test_probabilities_stay_away_from_0_and_1_when_a_cut_has_one_class_or_separates(votes: list[int]) -> None:
    cumulative = np.array([[0.5, 0.4, 0.3, 0.2], [0.7, 0.6, 0.5, 0.4], [0.9, 0.9, 0.8, 0.7]])
    levels = (np.array(votes)[:, None] >= np.arange(1, 5)).astype(np.float64)

    found = fit_recalibration(cumulative, levels)

    after = expit(found.slope * logit(cumulative) + np.array(found.intercepts))
    assert ((after > 0.02) & (after < 0.98)).all()


def test_fit_is_refused_when_the_order_is_reversed_or_nothing_is_known() -> None:
    cumulative, levels = _drawn(200, 1.0, (0.5, -0.5))
    with pytest.raises(UsageError, match="higher probabilities go with fewer votes"):
        fit_recalibration(1 - cumulative, levels)
    with pytest.raises(UsageError, match="no photo"):
        fit_recalibration(cumulative, np.full_like(levels, np.nan))


def test_undone_recalibration_gives_the_probabilities_before_it() -> None:
    cumulative, levels = _drawn(100, 0.7, (1.0, 0.0, -1.0))
    found = fit_recalibration(cumulative, levels)
    after = expit(found.slope * logit(cumulative) + np.array(found.intercepts))

    assert undo_recalibration(found, after) == pytest.approx(cumulative)
