import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from triage.errors import UsageError
from triage.evaluation.operating_point import RATES, Counts, count_at, ppv_threshold, youden_threshold

ROWS = st.lists(st.tuples(st.integers(0, 12), st.booleans()), min_size=1, max_size=40)


@pytest.mark.parametrize(
    ("counts", "published"),
    [
        (Counts(tp=107, fn=22, tn=40, fp=11), (0.829, 0.784, 0.907, 0.645)),  # truncated to .906 in the paper
        (Counts(tp=211, fn=44, tn=36, fp=9), (0.827, 0.800, 0.959, 0.450)),
    ],
)
def test_rates_are_those_of_the_paper_when_its_counts_are_given(
    counts: Counts, published: tuple[float, float, float, float]
) -> None:
    rates = (counts.sensitivity, counts.specificity, counts.ppv, counts.npv)

    assert tuple(round(rate.value or 0, 3) for rate in rates) == published


def test_needless_requests_are_counted_when_good_photos_fail() -> None:
    needless = Counts(tp=211, fn=44, tn=36, fp=9).needless_retake_share

    assert (needless.k, needless.n, needless.value) == (44, 80, 0.55)


def test_rates_are_none_when_nothing_is_there_to_count() -> None:
    nothing = Counts(0, 0, 0, 0)

    assert len(RATES) == 5
    for rate in RATES:
        assert getattr(nothing, rate).value is None
        assert getattr(nothing, rate).interval is None


def test_score_at_the_threshold_is_accepted_when_counted() -> None:
    scores, good = [0.2, 0.5, 0.5, 0.9], [False, False, True, False]

    assert count_at(scores, good, 0.5) == Counts(tp=1, fn=0, tn=1, fp=2)
    assert count_at(scores, good, np.nextafter(0.5, 1)) == Counts(tp=0, fn=1, tn=2, fp=1)


@given(ROWS, st.integers(0, 13))
def test_counts_are_those_of_a_plain_loop_when_scores_are_tied(rows: list[tuple[int, bool]], threshold: int) -> None:
    counts = count_at([score for score, _ in rows], [label for _, label in rows], threshold)

    assert counts.tp == sum(score >= threshold and label for score, label in rows)
    assert counts.fn == sum(score < threshold and label for score, label in rows)
    assert counts.tn == sum(score < threshold and not label for score, label in rows)
    assert counts.fp == sum(score >= threshold and not label for score, label in rows)


@given(ROWS.filter(lambda rows: len({label for _, label in rows}) == 2))
def test_youden_threshold_is_the_highest_of_the_best_when_all_are_tried(rows: list[tuple[int, bool]]) -> None:
    scores, good = [score for score, _ in rows], [label for _, label in rows]

    def index(threshold: float) -> int:
        counts = count_at(scores, good, threshold)
        return counts.tp * (counts.tn + counts.fp) - counts.fp * (counts.tp + counts.fn)

    best = max(index(score) for score in scores)

    assert youden_threshold(scores, good) == max(score for score in scores if index(score) == best)


@given(ROWS, st.sampled_from([0.1, 0.5, 2 / 3, 0.9, 1.0]))
def test_ppv_threshold_is_the_lowest_that_reaches_the_target_when_any_does(
    rows: list[tuple[int, bool]], target: float
) -> None:
    scores, good = [score for score, _ in rows], [label for _, label in rows]
    reaching = [score for score in scores if (count_at(scores, good, score).ppv.value or 0) >= target]

    if reaching:
        assert ppv_threshold(scores, good, target) == min(reaching)
    else:
        with pytest.raises(UsageError, match="no threshold reaches a PPV"):
            ppv_threshold(scores, good, target)


def test_error_states_the_highest_ppv_when_the_target_is_out_of_reach() -> None:
    with pytest.raises(UsageError, match=r"no threshold reaches a PPV of 0\.9; the highest is 0\.667"):
        ppv_threshold([0.9, 0.8, 0.7], [False, True, True], 0.9)


def test_youden_threshold_accepts_all_good_or_one_bad_when_there_is_one_class() -> None:
    assert youden_threshold([0.3, 0.8], [True, True]) == 0.3
    assert youden_threshold([0.3, 0.8], [False, False]) == 0.8


def test_thresholds_raise_when_there_are_no_photos() -> None:
    with pytest.raises(ValueError, match="no photos"):
        youden_threshold([], [])
    with pytest.raises(ValueError, match="no photos"):
        ppv_threshold([], [], 0.9)
