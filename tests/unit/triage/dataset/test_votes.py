"""What votes say about a photo, and about no other."""

import math
from itertools import combinations
from statistics import fmean

import pytest

from triage.dataset.votes import is_good, levels_of_votes, usual_number


@pytest.mark.parametrize(
    ("yes", "of", "good"), [(2, 4, True), (1, 4, False), (1, 2, True), (1, 3, False), (3, 5, True)]
)
def test_photo_is_good_when_its_share_of_yes_votes_is_large_enough(yes: int, of: int, good: bool) -> None:
    assert is_good(yes, of, good_votes=2, n_reviewers=4) is good


@pytest.mark.parametrize("yes", range(5))
def test_levels_are_ones_and_zeros_when_all_reviewers_voted(yes: int) -> None:
    assert levels_of_votes(yes, 4, 4) == (1.0,) * yes + (0.0,) * (4 - yes)


@pytest.mark.parametrize(("yes", "of"), [(0, 1), (1, 1), (1, 2), (2, 3), (0, 3)])
def test_levels_are_open_when_missing_votes_could_change_them(yes: int, of: int) -> None:
    possible = range(yes, yes + 4 - of + 1)
    for cut, level in enumerate(levels_of_votes(yes, of, 4), start=1):
        answers = {total >= cut for total in possible}
        assert math.isnan(level) if len(answers) == 2 else level == float(answers.pop())


@pytest.mark.parametrize(("yes", "of"), [(0, 5), (2, 5), (3, 6), (6, 6)])
def test_levels_are_shares_of_all_choices_of_votes_when_more_reviewers_voted(yes: int, of: int) -> None:
    votes = [1] * yes + [0] * (of - yes)
    chosen = [sum(some) for some in combinations(votes, 4)]

    expected = [fmean(total >= cut for total in chosen) for cut in range(1, 5)]

    assert levels_of_votes(yes, of, 4) == pytest.approx(expected)


def test_usual_number_is_the_larger_one_when_two_are_equally_frequent() -> None:
    assert usual_number([4, 4, 5]) == 4
    assert usual_number([4, 5]) == 5
