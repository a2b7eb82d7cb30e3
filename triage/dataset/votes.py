"""What the votes on a photo say: is it good, and what are the targets of a network's K outputs?

A photo has the votes of those who saw it, and of no one else: a vote on one photo never changes the label of another.
"""

import math
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

YES: Final = frozenset({"1", "1.0", "yes", "true", "checked", "sufficient"})
NO: Final = frozenset({"0", "0.0", "no", "false", "unchecked", "insufficient"})
_NO_VOTE: Final = frozenset({"", "nan", "na", "n/a", "<na>", "null", "none"})
_SHOWN: Final = 20
"""Characters of a cell that an error shows."""


def vote_of(text: str) -> int | None:
    """A reviewer's vote as REDCap, pandas, R and spreadsheets write it; None without one.

    >>> vote_of("1.0"), vote_of("FALSE"), vote_of("NaN")
    (1, 0, None)

    Raises:
        ValueError: another text; the message shows it.
    """
    word = text.casefold()
    if word in _NO_VOTE:
        return None
    if word in YES:
        return 1
    if word in NO:
        return 0
    expected = "1 or 0, yes or no, checked or unchecked, empty, or a given code for missing data"
    raise ValueError(f"a vote must be {expected}, not {_shown(text)}")


def whole_number(name: str, text: str) -> int:
    """A number of votes, such as `3` or `3.0`.

    Raises:
        ValueError: another text; the message shows it.
    """
    digits = text.removesuffix(".0")
    if not (digits.isascii() and digits.isdigit() and len(digits) < 7):
        raise ValueError(f"{name} must be a whole number, 0 or more, not {_shown(text)}")
    return int(digits)


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")


def count_votes(reviews: Sequence[int | None]) -> tuple[int, int]:
    """The number of yes votes, and of votes.

    Raises:
        ValueError: no reviewer has voted.
    """
    given = [review for review in reviews if review is not None]
    if not given:
        raise ValueError("no reviewer has voted")
    return sum(given), len(given)


def is_good(yes: int, of: int, *, good_votes: int, n_reviewers: int) -> bool:
    """Whether the share of yes votes reaches the share that `good_votes` are of all reviewers.

    >>> is_good(1, 2, good_votes=2, n_reviewers=4)
    True

    Args:
        yes: the number of reviewers who found the photo good enough.
        of: the number of reviewers who voted on it.
        good_votes: yes votes that make a photo good if all reviewers vote.
        n_reviewers: K, the number of reviewers of most photos.
    """
    return yes * n_reviewers >= good_votes * of


@lru_cache(maxsize=4096)
def levels_of_votes(yes: int, of: int, n_reviewers: int) -> tuple[float, ...]:
    """P(votes >= 1) ... P(votes >= K) as the votes on a photo say it; NaN where they leave it open.

    With K votes they are ones, then zeros. With fewer, those that the missing votes could still change are open.
    With more, K of the votes are drawn at random: a hypergeometric distribution.

    >>> levels_of_votes(2, 4, 4)
    (1.0, 1.0, 0.0, 0.0)
    >>> levels_of_votes(2, 3, 4)
    (1.0, 1.0, nan, 0.0)

    Args:
        yes: as for `is_good`.
        of: as for `is_good`.
        n_reviewers: K.
    """
    if of > n_reviewers:
        drawn = [math.comb(yes, k) * math.comb(of - yes, n_reviewers - k) for k in range(n_reviewers + 1)]
        return tuple(sum(drawn[cut:]) / math.comb(of, n_reviewers) for cut in range(1, n_reviewers + 1))
    most = yes + n_reviewers - of
    return tuple(1.0 if cut <= yes else 0.0 if cut > most else math.nan for cut in range(1, n_reviewers + 1))


def usual_number(numbers: Sequence[int]) -> int:
    """The number of votes that most photos have; the larger of two that are equally frequent."""
    counts = Counter(numbers)
    return max(counts, key=lambda number: (counts[number], number))
