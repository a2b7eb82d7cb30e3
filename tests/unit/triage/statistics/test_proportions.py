import pytest
from scipy.stats import binomtest

from triage.statistics.proportions import wilson_interval


@pytest.mark.parametrize(("k", "n"), [(0, 7), (7, 7), (1, 3), (107, 129), (500_000, 1_000_000)])
def test_wilson_interval_equals_scipys(k: int, n: int) -> None:
    expected = binomtest(k, n).proportion_ci(method="wilson")

    assert wilson_interval(k, n) == pytest.approx((expected.low, expected.high), abs=1e-12)
