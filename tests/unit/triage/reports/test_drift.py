from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from benchmarks.drift import SOURCES, draw_photos
from triage.reports.drift import FALSE_ALARM_RATE, compare_sources
from triage.statistics.drift import adjust, compare_categories, compare_scores
from triage.storage.drift_samples import SampledPhoto

CLINICS = 200


@pytest.mark.parametrize(("n", "m", "shift"), [(60, 50, 0.5), (400, 200, 0.15), (2000, 1000, 0.0)])
def test_scores_have_the_p_value_of_scipy(n: int, m: int, shift: float) -> None:
    random = np.random.default_rng(1)
    old, new = random.normal(size=n), random.normal(shift, size=m)

    expected = stats.ks_2samp(old, new, method="exact" if n < 100 else "asymp").pvalue

    assert compare_scores(old, new).p_value == pytest.approx(expected, rel=0.1)


def test_categories_have_the_p_value_of_scipy() -> None:
    for table in ([[50, 30, 20], [35, 40, 25]], [[500, 300], [260, 140]], [[90, 50, 20, 30, 10], [50, 22, 30, 14, 9]]):
        old, new = (np.repeat(np.arange(len(row)), row).tolist() for row in table)

        expected = stats.chi2_contingency(table, correction=False).pvalue

        assert compare_categories(old, new).p_value == pytest.approx(expected, rel=1e-9)


def test_rare_categories_count_as_one() -> None:
    old = ["a"] * 500 + [f"rare-{number}" for number in range(40)]
    new = ["a"] * 250 + [f"odd-{number}" for number in range(20)]

    assert compare_categories(old, new).p_value == pytest.approx(1)
    assert compare_categories(["a"] * 100, ["a"] * 100).p_value == 1


def test_index_is_that_of_its_definition() -> None:
    old, new = [0] * 6000 + [1] * 4000, [0] * 4000 + [1] * 6000

    assert compare_categories(old, new).psi == pytest.approx(2 * 0.2 * np.log(1.5), rel=1e-3)
    assert compare_scores(np.arange(5000), np.arange(5000)).psi == pytest.approx(0, abs=1e-9)


def test_p_values_are_adjusted_by_holm() -> None:
    assert adjust({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.9}) == pytest.approx(
        {"a": 0.04, "c": 0.09, "b": 0.09, "d": 0.9}
    )
    assert adjust({}) == {}


def _alarms(
    draw: Callable[[np.random.Generator, str, int], list[SampledPhoto]], *, clinics: int = CLINICS, seed: int = 1
) -> int:
    """The number of clinics in which any source raises an alarm although nothing changed."""
    random = np.random.default_rng(seed)
    alarms = 0
    for _ in range(clinics):
        old, new = ([photo for source in SOURCES for photo in draw(random, source, n)] for n in (200, 100))
        alarms += any(source["drifted"] for source in compare_sources(old, new))
    return alarms


def test_clinics_without_drift_raise_an_alarm_at_the_stated_rate() -> None:
    most = stats.binom.ppf(0.999, CLINICS, FALSE_ALARM_RATE)

    assert _alarms(draw_photos) <= most


def test_rate_is_exceeded_when_photos_of_a_message_count_as_independent() -> None:
    def three_alike(random: np.random.Generator, source: str, n: int) -> list[SampledPhoto]:
        return draw_photos(random, source, n) * 3

    assert _alarms(three_alike, clinics=60) > stats.binom.ppf(0.999, 60, FALSE_ALARM_RATE)


def test_darker_photos_of_one_source_raise_the_alarm_for_it_alone() -> None:
    for seed in range(10):
        random = np.random.default_rng(seed)
        old = [photo for source in SOURCES for photo in draw_photos(random, source, 400)]
        new = [
            photo
            for source in SOURCES
            for photo in draw_photos(random, source, 200, darker=0.3 if source == "kiosk" else 0)
        ]

        found = compare_sources(old, new)

        assert {each["source"]: each["drifted"] for each in found} == {"app": False, "kiosk": True, "portal": False}
        assert [len(each["review"]) for each in found] == [0, 20, 0]


def test_source_with_few_photos_is_not_compared() -> None:
    random = np.random.default_rng(1)
    old = draw_photos(random, "app", 300) + draw_photos(random, "kiosk", 49)
    new = (
        draw_photos(random, "app", 300) + draw_photos(random, "kiosk", 300, darker=1) + draw_photos(random, "new", 300)
    )

    assert {each["source"]: each["drifted"] for each in compare_sources(old, new)} == {
        "app": False,
        "kiosk": None,
        "new": None,
    }
