"""Opting a whole thread out: sticky, at any time, for messages that are there and messages that come."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.support.clinic import Clinic
from triage.blobs.store import BlobStore
from triage.domain.states import Outcome
from triage.errors import UsageError
from triage.retakes import requests
from triage.retakes.opt_out import ThreadOptOut, opt_out, undo_opt_out
from triage.retakes.override import override
from triage.retention.archive import archive_threads
from triage.retention.forget import forget
from triage.retention.purge import Retention


def _opt_out(clinic: Clinic, thread: str = "t", source: str = "ehr") -> ThreadOptOut:
    return opt_out(clinic.sessions, source=source, thread=thread, by="ehr", policy=clinic.policy)


def _actions(clinic: Clinic) -> Sequence[str]:
    return [row.action for row in clinic.query("SELECT action FROM audit_event ORDER BY position")]


@pytest.mark.parametrize("is_held", [False, True])
def test_open_requests_of_the_thread_are_withdrawn_and_its_messages_go_to_staff(
    clinic: Clinic, *, is_held: bool
) -> None:
    clinic.send("m1", "a/0.1", thread="t")
    clinic.send("m2", "b/0.9", thread="t")
    clinic.send("other", "c/0.1", thread="u")
    clinic.send("m1", "d/0.1", thread="t", source="portal")
    clinic.drain()
    if is_held:
        requests.claim(clinic.sessions, limit=10, lease=timedelta(minutes=5), by="ehr")
    before = len(_actions(clinic))

    opted_out, again = _opt_out(clinic), _opt_out(clinic)

    assert (opted_out.opted_out, opted_out.changed, len(opted_out.requests_withdrawn)) == (True, True, 1)
    assert (again.opted_out, again.changed, list(again.requests_withdrawn)) == (True, False, [])
    open_ = "claimed" if is_held else "flagged"
    assert clinic.requests() == [("m1", "withdrawn"), ("other", open_), ("m1", open_)]
    assert clinic.query("SELECT source, external_id FROM message WHERE opted_out ORDER BY external_id") == [
        ("ehr", "m1"),
        ("ehr", "m2"),
    ]
    assert clinic.decisions("m2") == [("pass", "photo_passed")]
    assert _actions(clinic)[before:] == [
        "message.opted_out",
        "message.opted_out",
        "retake.withdrawn",
        "thread.opted_out",
    ]


def test_later_messages_of_the_thread_never_get_a_request(clinic: Clinic) -> None:
    clinic.send("pending", "a/0.1", thread="t")
    _opt_out(clinic)
    accepted = clinic.send("later", "b/0.1", thread="t")
    clinic.drain()

    assert accepted.opted_out
    assert accepted.unchanged == ["opted_out"]
    for message in ("pending", "later"):
        assert clinic.decisions(message) == [("uncertain", "opted_out")]
        with pytest.raises(UsageError, match="opted out"):
            override(clinic.sessions, message, Outcome.RETAKE, by="nurse-1", reason="blurred", policy=clinic.policy)
    assert clinic.requests() == []


@pytest.mark.parametrize("thread", ["t", None])
def test_opt_out_holds_for_a_thread_that_is_not_known_yet(clinic: Clinic, thread: str | None) -> None:
    _opt_out(clinic, thread or "m")
    clinic.send("m", "a/0.1", thread=thread)
    clinic.send("elsewhere", "b/0.1", thread="u")
    clinic.drain()

    assert clinic.decisions("m") == [("uncertain", "opted_out")]
    assert clinic.requests() == [("elsewhere", "flagged")]


def test_opt_out_survives_forgetting_and_archiving_the_thread(clinic: Clinic, tmp_path: Path) -> None:
    retention = Retention(clinic.sessions, BlobStore(str(tmp_path / "blobs")), keep=timedelta(days=1))
    for thread in ("forgotten", "archived"):
        clinic.send(f"{thread}-1", f"{thread}/0.9", thread=thread)
        _opt_out(clinic, thread)
    clinic.drain()
    forget(clinic.sessions, retention, "forgotten-1", by="nurse-1", reason="request", policy=clinic.policy)
    list(archive_threads(clinic.sessions, tmp_path / "files", before=datetime.now(UTC), actor="test"))
    assert clinic.query("SELECT FROM message") == []

    for thread in ("forgotten", "archived"):
        clinic.send(f"{thread}-2", f"{thread}-2/0.1", thread=thread)
    clinic.drain()

    assert clinic.decisions("forgotten-2") == clinic.decisions("archived-2") == [("uncertain", "opted_out")]
    assert not any(_opt_out(clinic, thread).changed for thread in ("forgotten", "archived"))


def test_no_id_of_a_forgotten_thread_remains(clinic: Clinic, tmp_path: Path) -> None:
    clinic.send("m", "a/0.1", thread="t-of-the-patient")
    _opt_out(clinic, "t-of-the-patient")
    forget(
        clinic.sessions,
        Retention(clinic.sessions, BlobStore(str(tmp_path)), keep=None),
        "m",
        by="nurse-1",
        reason="request",
        policy=clinic.policy,
    )

    for table in ("thread", "message", "opt_out", "audit_event"):
        assert "t-of-the-patient" not in str(clinic.query(f"SELECT to_jsonb({table}) FROM {table}"))


def test_no_id_of_a_thread_without_messages_is_stored(clinic: Clinic) -> None:
    _opt_out(clinic, "t-of-the-patient")
    _opt_out(clinic, "t-of-the-patient")

    assert clinic.query("SELECT FROM thread") == []


def test_person_can_take_an_opt_out_back_for_later_messages(clinic: Clinic) -> None:
    clinic.send("before", "a/0.1", thread="t")
    _opt_out(clinic)

    undone, again = (undo_opt_out(clinic.sessions, source="ehr", thread="t", by="nurse-1") for _ in range(2))
    clinic.send("after", "b/0.1", thread="t")
    clinic.drain()

    assert (undone.opted_out, undone.changed, again.changed) == (False, True, False)
    assert [action for action in _actions(clinic) if action.startswith("thread.")] == [
        "thread.opted_out",
        "thread.opted_in",
    ]
    assert clinic.decisions("before") == [("uncertain", "opted_out")]
    assert clinic.requests() == [("after", "flagged")]


def test_opt_out_wins_when_it_races_with_intake_and_scoring(clinic: Clinic) -> None:
    threads = [f"t{number}" for number in range(12)]
    for thread in threads[:6]:
        clinic.send(f"{thread}-1", f"{thread}/0.1", thread=thread)

    with ThreadPoolExecutor(6) as pool:
        drained = pool.submit(clinic.drain)
        opted_out = [pool.submit(_opt_out, clinic, thread) for thread in threads[::2]]
        sent = [pool.submit(clinic.send, f"{each}-2", f"{each}-2/0.1", thread=each) for each in threads]
        opted_out += [pool.submit(_opt_out, clinic, thread) for thread in threads[1::2]]
        drained.result()
        for done in opted_out:
            done.result()
        for future in sent:
            future.result()
    clinic.drain()

    assert {status for _, status in clinic.requests()} <= {"withdrawn"}
    assert clinic.query("SELECT external_id FROM message WHERE NOT opted_out") == []


@pytest.mark.parametrize(
    ("source", "thread", "by", "problem"),
    [
        ("a b", "t", "ehr", "invalid source"),
        ("ehr", "", "ehr", "invalid thread id"),
        ("ehr", "forgotten:1", "ehr", "forgotten"),
        ("ehr", "t", "Erika M", "actor"),
    ],
)
def test_malformed_opt_out_is_refused(clinic: Clinic, source: str, thread: str, by: str, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        opt_out(clinic.sessions, source=source, thread=thread, by=by, policy=clinic.policy)
    with pytest.raises(UsageError, match=problem):
        undo_opt_out(clinic.sessions, source=source, thread=thread, by=by)
