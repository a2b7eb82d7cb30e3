"""The audit trail as a chain of hashes: verification finds changed, removed, reordered and cut-off events."""

import threading
from collections.abc import Callable

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from tests.support.command_line import Result
from triage.domain.audit import Anchor
from triage.domain.ids import new_id
from triage.errors import TriageError
from triage.storage import audit, migrate
from triage.storage.audit import GENESIS
from triage.storage.database import Sessions


def _append(sessions: Sessions, n: int = 1, **details: object) -> None:
    with sessions.begin() as session:
        for number in range(n):
            audit.record(
                session, actor="nurse-1", action="test", subject_kind="x", subject_id=new_id(), n=number, **details
            )


def _verify(sessions: Sessions, anchor: Anchor | None = None) -> list[tuple[int, str]]:
    with sessions() as session:
        return [(flaw.position, flaw.kind) for flaw in audit.verify(session, anchor).flaws]


@pytest.fixture
def tamper(engine: Engine) -> Callable[[str], None]:
    """Changes rows with triggers disabled, as only the owner of the tables can."""

    def run(statement: str) -> None:
        with engine.begin() as connection:
            connection.execute(text("SET LOCAL session_replication_role = replica"))
            connection.execute(text(statement))

    return run


def test_chain_is_valid_when_nothing_was_changed(sessions: Sessions) -> None:
    assert _verify(sessions) == []
    _append(sessions, 3, text='quotes " and \\ and ☃', number=0.1, nothing=None, list=[1, {"b": 1, "a": 2}])
    _append(sessions)

    with sessions() as session:
        found = audit.verify(session)
        assert audit.head(session) == found.head
    assert (found.events, found.head.position, found.flaws) == (4, 4, [])


@pytest.mark.parametrize(
    "change",
    [
        "actor = 'somebody'",
        "action = 'other'",
        "subject_id = gen_random_uuid()",
        "at = at + interval '1 microsecond'",
        "details = details || '{\"n\": 7}'",
        "hash = repeat('0', 64)",
    ],
)
def test_changed_event_is_found(sessions: Sessions, tamper: Callable[[str], None], change: str) -> None:
    _append(sessions, 5)

    tamper(f"UPDATE audit_event SET {change} WHERE position = 3")

    assert (3, "changed") in _verify(sessions)


def test_changed_event_is_found_when_its_hash_was_recomputed(sessions: Sessions, tamper: Callable[[str], None]) -> None:
    _append(sessions, 5)

    tamper("UPDATE audit_event SET actor = 'somebody' WHERE position = 3")
    tamper("UPDATE audit_event SET hash = audit_hash(audit_event) WHERE position = 3")

    assert _verify(sessions) == [(4, "reordered")]


def test_missing_event_is_found(sessions: Sessions, tamper: Callable[[str], None]) -> None:
    _append(sessions, 5)

    tamper("DELETE FROM audit_event WHERE position = 3")

    assert _verify(sessions) == [(3, "missing")]


def test_reordered_events_are_found(sessions: Sessions, tamper: Callable[[str], None]) -> None:
    _append(sessions, 5)

    tamper("UPDATE audit_event SET position = -position WHERE position IN (2, 3)")
    tamper("UPDATE audit_event SET position = CASE position WHEN -2 THEN 3 ELSE 2 END WHERE position < 0")

    assert {(2, "reordered"), (2, "changed"), (3, "changed")} <= set(_verify(sessions))


def test_cut_off_tail_is_found_by_the_head(sessions: Sessions, tamper: Callable[[str], None]) -> None:
    _append(sessions, 5)

    tamper("DELETE FROM audit_event WHERE position > 3")

    assert _verify(sessions) == [(5, "cut_off")]


def test_missing_head_is_reported_and_blocks_further_events(sessions: Sessions, tamper: Callable[[str], None]) -> None:
    _append(sessions, 3)
    tamper("DELETE FROM audit_head")

    assert _verify(sessions) == [(3, "headless")]
    with sessions() as session, pytest.raises(TriageError, match="head of the audit trail is missing"):
        audit.head(session)
    with pytest.raises(DBAPIError):
        _append(sessions)


def test_replaced_chain_is_found_only_by_an_anchor(sessions: Sessions, tamper: Callable[[str], None]) -> None:
    _append(sessions, 5)
    with sessions() as session:
        anchor = audit.head(session)

    tamper("DELETE FROM audit_event WHERE position > 3")
    tamper("UPDATE audit_head SET (position, hash) = (SELECT position, hash FROM audit_event WHERE position = 3)")

    assert _verify(sessions) == []
    assert _verify(sessions, anchor) == [(5, "cut_off")]
    _append(sessions, 4)
    assert _verify(sessions) == []
    assert _verify(sessions, anchor) == [(5, "replaced")]


def test_anchor_is_valid_when_the_chain_has_grown(sessions: Sessions) -> None:
    _append(sessions, 2)
    with sessions() as session:
        anchor = audit.head(session)
    _append(sessions, 3)

    assert _verify(sessions, anchor) == []
    assert _verify(sessions, Anchor(0, GENESIS)) == []


def test_chain_has_no_fork_when_writers_are_concurrent(sessions: Sessions) -> None:
    start = threading.Barrier(6)

    def write() -> None:
        start.wait()
        for _ in range(20):
            _append(sessions, 2)

    writers = [threading.Thread(target=write) for _ in range(6)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()

    with sessions() as session:
        found = audit.verify(session)
        times = session.scalars(text("SELECT at FROM audit_event ORDER BY position")).all()
    assert (found.events, found.flaws) == (240, [])
    assert times == sorted(times)


def test_failed_transaction_leaves_no_gap(sessions: Sessions) -> None:
    _append(sessions)
    with sessions() as session:
        audit.record(session, actor="a", action="b", subject_kind="c", subject_id=new_id())
        session.rollback()
    _append(sessions)

    with sessions() as session:
        found = audit.verify(session)
    assert (found.events, found.head.position, found.flaws) == (2, 2, [])


def test_position_in_the_chain_cannot_be_chosen(sessions: Sessions) -> None:
    with sessions.begin() as session:
        session.execute(
            text(
                "INSERT INTO audit_event "
                "(id, at, actor, action, subject_kind, subject_id, position, previous_hash, hash) "
                "VALUES (:id, '2000-01-01', 'a', 'b', 'c', :id, 77, 'x', 'y')"
            ),
            {"id": new_id()},
        )

    with sessions() as session:
        assert audit.verify(session).head.position == 1
        assert session.scalar(text("SELECT at > '2020-01-01' FROM audit_event"))


def test_chain_starts_at_the_first_position_when_the_schema_is_created_again(empty_engine: Engine) -> None:
    for _ in range(2):
        migrate.upgrade(empty_engine)
        sessions = Sessions(empty_engine)
        _append(sessions, 3)
        with sessions() as session:
            found = audit.verify(session)
        assert (found.events, found.head.position, found.flaws) == (3, 3, [])
        migrate.downgrade(empty_engine, "base")


def test_audit_verify_prints_the_head_and_exits_1_when_the_chain_has_flaws(
    triage: Callable[..., Result], sessions: Sessions, tamper: Callable[[str], None]
) -> None:
    _append(sessions, 3)
    whole = triage("audit", "verify", "--json")
    assert (whole.code, whole.json["ok"], whole.json["events"]) == (0, True, 3)
    assert triage("audit", "verify", "--anchor", whole.json["head"]).code == 0
    assert whole.json["head"] in triage("audit", "verify").out

    tamper("DELETE FROM audit_event WHERE position = 2")

    broken = triage("audit", "verify", "--json")
    assert (broken.code, broken.json["ok"]) == (1, False)
    assert broken.json["flaws"] == [{"position": 2, "kind": "missing", "event_id": None}]
    assert "damaged (1 flaws)" in broken.complaint()
    assert triage("audit", "verify", "--anchor", "7").code == 2
