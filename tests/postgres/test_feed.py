"""The feed of decisions: each exactly once, in an order that never changes, also while others write."""

import random
import threading
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from tests.support.clinic import Clinic
from triage.domain.ids import DecisionId, MessageId, new_id
from triage.domain.messages import FeedDecision
from triage.domain.states import DecidedBy, Outcome, Reason
from triage.errors import UsageError
from triage.retakes.feed import list_decisions
from triage.retakes.override import override
from triage.storage import decisions
from triage.storage.decisions import NewDecision
from triage.storage.tables import Message

EVERYTHING = 1000


def _read(clinic: Clinic, after: str | None = None, *, limit: int = EVERYTHING) -> tuple[list[FeedDecision], str]:
    page = list_decisions(clinic.sessions, after=after, limit=limit)
    return list(page.decisions), page.cursor


def _messages(clinic: Clinic, count: int) -> Sequence[MessageId]:
    """Messages that have no decision."""
    for number in range(count):
        clinic.send(f"m{number}", "a/0.1")
    with clinic.sessions() as session:
        return [MessageId(row) for row in session.scalars(select(Message.id).order_by(Message.id))]


def _decide(session: Session, message: MessageId) -> DecisionId:
    new = NewDecision(
        DecisionId(new_id()), message, None, Outcome.PASS, Reason.PHOTO_PASSED, decided_by=DecidedBy.MODEL
    )
    decisions.append_decisions(session, [new])
    return new.id


def test_decision_tells_what_a_sender_needs(clinic: Clinic) -> None:
    clinic.send("m1", "a/0.1", thread="t")
    clinic.drain()
    [request] = clinic.query("SELECT id FROM retake_request")
    override(clinic.sessions, "m1", Outcome.PASS, by="nurse-1", reason="sharp enough", policy=clinic.policy)

    asked, overridden = _read(clinic)[0]

    assert (asked.source, asked.message, asked.thread) == ("ehr", "m1", "t")
    assert (asked.outcome, asked.reason, asked.decided_by, asked.model) == (
        "retake",
        "no_photo_passed",
        "model",
        "fixture",
    )
    assert (asked.request_id, asked.is_current) == (request.id, False)
    assert (overridden.outcome, overridden.reason, overridden.model) == ("pass", "override", None)
    assert (overridden.request_id, overridden.is_current) == (None, True)
    assert asked.decided_at < overridden.decided_at
    assert "sharp" not in repr(overridden)
    assert "nurse" not in repr(overridden)


def test_pages_follow_each_other_and_stay_as_they_are(clinic: Clinic) -> None:
    for number in range(5):
        clinic.send(f"m{number}", "a/0.9")
    clinic.drain()

    first, after_first = _read(clinic, limit=2)
    second, after_second = _read(clinic, after_first, limit=2)
    third, after_third = _read(clinic, after_second, limit=2)

    assert [d.message for d in [*first, *second, *third]] == [f"m{number}" for number in range(5)]
    assert _read(clinic, after_third) == ([], after_third)
    assert _read(clinic, after_first, limit=2) == (second, after_second)
    assert _read(clinic)[0] == [*first, *second, *third]


def test_feed_is_empty_and_has_a_cursor_before_the_first_decision(clinic: Clinic) -> None:
    assert _read(clinic) == ([], "0")
    assert _read(clinic, "0") == ([], "0")


def test_decision_that_commits_late_is_read_after_its_followers(clinic: Clinic) -> None:
    slow, fast = _messages(clinic, 2)
    with clinic.sessions() as late:
        first = _decide(late, slow)
        with clinic.sessions.begin() as session:
            second = _decide(session, fast)
        early, cursor = _read(clinic)
        late.commit()

    rest, _ = _read(clinic, cursor)

    assert first < second
    assert [d.id for d in early] == [second]
    assert [d.id for d in rest] == [first]


@pytest.mark.parametrize("limit", [3, 50])
def test_every_decision_is_read_once_while_transactions_commit_out_of_order(clinic: Clinic, limit: int) -> None:
    messages = _messages(clinic, 120)
    dice = random.Random(limit)
    plans = [(message, dice.uniform(0, 0.05), dice.random() < 0.2) for message in messages]
    written: set[DecisionId] = set()
    ended = threading.Event()

    def write(plan: tuple[MessageId, float, bool]) -> None:
        message, pause, fails = plan
        with clinic.sessions() as session:
            decision = _decide(session, message)
            session.execute(text("SELECT pg_sleep(:pause)"), {"pause": pause})
            if fails:
                session.rollback()
                return
            session.commit()
        written.add(decision)

    def read() -> list[DecisionId]:
        cursor, found = None, list[DecisionId]()
        while True:
            is_last = ended.is_set()
            page, cursor = _read(clinic, cursor, limit=limit)
            found += [decision.id for decision in page]
            if is_last and not page:
                return found

    with ThreadPoolExecutor(6) as writers, ThreadPoolExecutor(2) as readers:
        reading = [readers.submit(read) for _ in range(2)]
        list(writers.map(write, plans))
        ended.set()
        first, second = (future.result() for future in reading)

    assert first == second
    assert Counter(first) == Counter(written)
    assert list(first) != sorted(first), "no transaction committed out of order: the test shows nothing"


@pytest.mark.parametrize("cursor", ["", "x", "-1", "1.0", "9" * 40, "\N{DEVANAGARI DIGIT ONE}", " 1", "1\n"])
def test_malformed_cursor_is_refused(clinic: Clinic, cursor: str) -> None:
    with pytest.raises(UsageError, match="invalid cursor"):
        _read(clinic, cursor)


def test_cursor_is_refused_when_it_is_newer_than_the_database(clinic: Clinic) -> None:
    clinic.send("m", "a/0.9")
    clinic.drain()
    _, cursor = _read(clinic)

    assert _read(clinic, cursor)[0] == []
    with pytest.raises(UsageError, match="newer than this database"):
        _read(clinic, str(int(cursor) + 1))


def test_position_of_a_decision_never_changes(clinic: Clinic) -> None:
    clinic.send("m", "a/0.9")
    clinic.drain()
    _read(clinic)

    for change in ("position + 1", "NULL"):
        with pytest.raises(DBAPIError, match="append-only"):
            clinic.execute(f"UPDATE decision SET position = {change}")
