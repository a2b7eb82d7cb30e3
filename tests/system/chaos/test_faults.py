"""A few faults in their short form; `make chaos` inflicts all of them on a thousand photos each."""

import pytest

from tests.system.chaos.faults import SHORT, inflict


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # servers that are killed leave sockets behind
@pytest.mark.parametrize("fault", ["redis-lost", "postgres-restarted", "raises"])
def test_nothing_is_lost_or_done_twice_when_it_strikes(fault: str) -> None:
    row = inflict(fault, SHORT, seed=1)

    assert row.times
    assert (row.checked.lost, row.checked.doubled, row.checked.parked) == (0, 0, 0)
