"""A few faults in their short form; `make chaos` injects all of them with 1,000 photos each."""

import pytest

from tests.system.chaos.faults import SHORT, inflict

pytestmark = pytest.mark.long


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # killed servers leave sockets open
@pytest.mark.parametrize("fault", ["redis-lost", "postgres-restarted", "raises", "poison", "outside-kills", "webhooks"])
def test_nothing_is_lost_or_doubled_under_a_fault(fault: str) -> None:
    row = inflict(fault, SHORT, seed=1)

    assert row.times
    assert (row.checked.lost, row.checked.doubled, row.checked.parked) == (0, 0, 0)
