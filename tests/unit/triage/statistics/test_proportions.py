import pytest
from scipy.stats import binomtest

from triage.statistics.proportions import sample_size, wilson_interval


@pytest.mark.parametrize(("k", "n"), [(0, 7), (7, 7), (1, 3), (107, 129), (500_000, 1_000_000)])
def test_wilson_interval_equals_scipys(k: int, n: int) -> None:
    expected = binomtest(k, n).proportion_ci(method="wilson")

    assert wilson_interval(k, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


@pytest.mark.parametrize(("width", "share"), [(0.1, 0.5), (0.1, 0.25), (0.05, 0.8)])
def test_sample_is_the_smallest_that_gives_the_width_when_the_share_is_found(width: float, share: float) -> None:
    n = sample_size(width, share)

    for size, is_narrow in ((n + 20, True), (n - 20, False)):
        size -= size % 20  # so that the share is a whole number of photos
        interval = binomtest(round(share * size), size).proportion_ci(method="wilson")
        assert (interval.high - interval.low <= width) == is_narrow
