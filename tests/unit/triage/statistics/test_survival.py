"""The estimate is compared with scipy's, and with a published one."""

from random import Random

import pytest
from scipy import stats

from triage.statistics.survival import time_to_event

FREIREICH = [(6, 1), (6, 1), (6, 1), (7, 1), (10, 1), (13, 1), (16, 1), (22, 1), (23, 1), (6, 0), (9, 0), (10, 0)]
FREIREICH += [(11, 0), (17, 0), (19, 0), (20, 0), (25, 0), (32, 0), (32, 0), (34, 0), (35, 0)]
"""Weeks in remission under 6-mercaptopurine, Freireich et al. 1963, doi:10.1182/blood.V21.6.699.699."""


def test_shares_are_the_published_ones_when_remission_times_are_given() -> None:
    observed = [(float(weeks), bool(ended)) for weeks, ended in FREIREICH]

    reached = time_to_event(observed, [6, 7, 10, 13, 16, 22, 23, 35])

    alive = [0.857, 0.807, 0.753, 0.690, 0.627, 0.538, 0.448, 0.448]
    assert [1 - each.share for each in reached] == pytest.approx(alive, abs=5e-4)
    assert [each.at_risk for each in reached] == [17, 16, 13, 11, 10, 6, 5, 0]


def test_intervals_are_those_of_scipy_when_times_are_tied_and_cut_off() -> None:
    draw = Random(7)
    observed = [(float(draw.randint(1, 30)), draw.random() < 0.6) for _ in range(200)]
    data = stats.CensoredData(
        uncensored=[time for time, happened in observed if happened],
        right=[time for time, happened in observed if not happened],
    )
    curve = stats.ecdf(data).sf
    interval = curve.confidence_interval(method="log-log")

    at = [1, 2.5, 10, 20, 29]
    for moment, reached in zip(at, time_to_event(observed, at), strict=True):
        assert reached.share == pytest.approx(1 - curve.evaluate(moment))
        ends = (1 - interval.high.evaluate(moment), 1 - interval.low.evaluate(moment))
        assert reached.interval == pytest.approx(ends)


def test_interval_is_none_when_no_event_or_every_event_has_happened() -> None:
    before, after = time_to_event([(1.0, True), (2.0, True)], [0.5, 2.0])

    assert (before.share, before.interval, before.at_risk) == (0.0, None, 2)
    assert (after.share, after.interval, after.at_risk) == (1.0, None, 0)
    assert [each.share for each in time_to_event([], [1.0])] == [0.0]
