import pytest
from celery.schedules import crontab

from worker.broker.beat import Interval

_LONG_AGO = crontab().now()


def test_interval_uses_the_monotonic_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    interval = Interval(5)

    assert tuple(interval.is_due(_LONG_AGO)) == (True, 5)
    now[0] += 2
    assert tuple(interval.is_due(_LONG_AGO)) == (False, 3)  # regardless of the last run by the wall clock
    now[0] += 3
    assert interval.is_due(_LONG_AGO).is_due
