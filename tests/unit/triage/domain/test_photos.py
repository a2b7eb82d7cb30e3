import doctest

from triage.domain import photos


def test_examples_of_the_docstrings_hold() -> None:
    assert doctest.testmod(photos) == (0, 1)
