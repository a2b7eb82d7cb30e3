import pytest

from triage.domain.actors import check_actor
from triage.errors import UsageError


@pytest.mark.parametrize("actor", ["nurse-7", "uid-1000", "j.doe@clinic/ward+2", "a" * 64])
def test_actor_is_accepted_when_it_is_an_id(actor: str) -> None:
    assert check_actor(actor) == actor


@pytest.mark.parametrize("actor", ["", " ", "-x", "Erika Mustermann", "nurse\n7", "a" * 65])
def test_actor_is_rejected_when_it_may_be_text(actor: str) -> None:
    with pytest.raises(UsageError, match="invalid actor id") as raised:
        check_actor(actor)
    assert actor.strip() == "" or actor not in str(raised.value)
