"""Intervals by resampling patients."""

import numpy as np
import pytest

from triage.statistics.arrays import Floats, Ints
from triage.statistics.clusters import cluster_intervals


class _Mean:
    def __init__(self, values: Floats) -> None:
        self._values = values

    def __call__(self, rows: Ints) -> list[float]:
        return [float(self._values[rows].mean())]


def test_interval_covers_the_mean_at_its_rate_when_photos_of_a_patient_are_alike() -> None:
    """The photos of a patient are equal, so an interval that takes them for independent ones would cover 76 %."""
    random = np.random.default_rng(0)
    covered = 0
    for seed in range(200):
        values = np.repeat(random.normal(size=40), 3)
        patients = np.repeat(np.arange(40), 3).tolist()
        [interval] = cluster_intervals(_Mean(values), patients, n_resamples=300, seed=seed)
        assert interval is not None
        low, high = interval
        covered += low <= 0 <= high
    assert covered == pytest.approx(190, abs=11)


def test_interval_is_that_of_the_same_seed() -> None:
    values = np.random.default_rng(1).normal(size=30)

    intervals = [cluster_intervals(_Mean(values), range(30), n_resamples=100, seed=seed) for seed in (0, 0, 1)]

    assert intervals[0] == intervals[1] != intervals[2]


def test_interval_is_none_when_it_cannot_be_estimated() -> None:
    assert cluster_intervals(lambda rows: [float(len(rows))], ["p", "p", "p"]) == [None]
    assert cluster_intervals(lambda _: [np.nan], ["p", "q"]) == [None]
    assert cluster_intervals(lambda _: [1.0], ["p", "q"]) == [None]  # a rate of 100 % is not certain
