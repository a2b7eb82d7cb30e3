"""Messages that are read on the EHR's server as an operator meets them: `triage arrivals`."""

from collections.abc import Callable
from typing import TypeAlias

import pytest
from sqlalchemy import text

from tests.support.command_line import Result
from triage.arrivals.announce import announce
from triage.domain.ids import new_id
from triage.storage.database import Sessions

Triage: TypeAlias = Callable[..., Result]


def _arrive(sessions: Sessions, *ids: str, state: str) -> None:
    announce(sessions, "fhir", {f"Communication/{id_}": "1" for id_ in ids})
    with sessions.begin() as session:
        session.execute(text(f"UPDATE arrival SET {state}"))


DEAD = "status = 'dead', error = 'malformed', finished_at = now()"
READ = "status = 'done', finished_at = now()"
IN_FLIGHT = "lease_token = gen_random_uuid(), due_at = now() + interval '1 hour'"


def test_operator_lists_retries_and_drops_messages(sessions: Sessions, triage: Triage) -> None:
    _arrive(sessions, "1", "2", "3", state=DEAD)

    listed = triage("arrivals", "list", "--status", "dead", "--json").json
    first, second, third = (each["id"] for each in listed)

    assert {each["reference"] for each in listed} == {"Communication/1", "Communication/2", "Communication/3"}
    assert {(each["error"], each["due_at"]) for each in listed} == {("malformed", None)}
    assert "malformed" in triage("arrivals", "list").out
    assert triage("arrivals", "list", "--source", "other", "--json").json == []
    assert triage("arrivals", "drop", first, "--by", "op-1", "--json").json == {"arrivals": [first]}
    assert triage("arrivals", "retry", second, "--by", "op-1").out == "1 message: due now\n"
    assert triage("arrivals", "retry", "--dead", "--by", "op-1", "--json").json == {"arrivals": [third]}
    listed = triage("arrivals", "list", "--json").json
    assert [each["status"] for each in listed] == ["ignored", "pending", "pending"]
    with sessions() as session:
        actions = session.scalars(text("SELECT action FROM audit_event WHERE actor = 'op-1' ORDER BY position")).all()
    assert actions == ["arrival.dropped", "arrival.retried", "arrivals.retried"]


@pytest.mark.parametrize("command", ["retry", "drop"])
def test_change_of_a_message_is_refused_in_one_line(sessions: Sessions, triage: Triage, command: str) -> None:
    _arrive(sessions, "1", state=READ)
    [arrival] = triage("arrivals", "list", "--json").json

    unknown = triage("arrivals", command, str(new_id()), "--by", "op-1")
    neither = triage("arrivals", command, "--by", "op-1")
    read = triage("arrivals", command, arrival["id"], "--by", "op-1")

    assert (unknown.code, neither.code, read.code) == (2, 2, 2)
    assert unknown.complaint().startswith("triage: no arrival has this id: ")
    assert neither.complaint() == "triage: give ARRIVAL or --dead"
    assert read.complaint().endswith("it is done")


def test_message_that_is_being_read_is_not_made_due(sessions: Sessions, triage: Triage) -> None:
    _arrive(sessions, "1", state=IN_FLIGHT)
    [arrival] = triage("arrivals", "list", "--json").json

    refused = triage("arrivals", "retry", arrival["id"], "--by", "op-1")

    assert refused.complaint() == "triage: the message is being read now: list it again in a minute"
