"""Archiving threads into files while workers continue, and forgetting messages in these files."""

import errno
import gzip
import hashlib
import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from tests.support.clinic import Clinic
from tests.support.command_line import Result
from tests.support.rescoring import LEASE, OtherModel
from triage.domain.ids import MessageId, new_id
from triage.domain.messages import HeldRequest
from triage.domain.photo_reviews import PhotoReview, SamplingRule
from triage.domain.runs import RescoringParameters
from triage.domain.states import FindingKind, Outcome, RunStatus
from triage.errors import LockedError, UsageError
from triage.files.atomic import write_durably
from triage.photo_reviews import sets, voting
from triage.retakes.override import override
from triage.retakes.reviews import appeal
from triage.retention import archive as archiving
from triage.retention import archive_file
from triage.retention.archive import archive_threads
from triage.retention.forget_archived import LOCK, Rewritten, forget_archived
from triage.scoring.rescoring import Rescoring
from triage.scoring.start import create_run
from triage.storage import archive as archive_rows
from triage.storage import audit, messages, outbox, runs
from triage.storage.database import create_database_engine, create_sessions
from triage.storage.locks import try_lock
from triage.storage.role_names import MIGRATOR, WORKER
from worker.state_folder import StateFolder

TABLES = ("thread", "message", "attachment", "verdict", "decision", "retake_request", "request_review")


def _archive(clinic: Clinic, folder: Path, before: datetime | None = None) -> list[dict[str, Any]]:
    """Archives all closed threads and returns the lines of the new files."""
    batches = list(archive_threads(clinic.sessions, folder, before=before or datetime.now(UTC), actor="op-1"))
    return [json.loads(line) for batch in batches for line in gzip.decompress(batch.file.read_bytes()).splitlines()]


def _rows(clinic: Clinic, table: str) -> list[Any]:
    return [row[0] for row in clinic.query(f"SELECT to_jsonb(t) FROM {table} t ORDER BY id")]


def _vote(clinic: Clinic) -> PhotoReview:
    """A vote on each photo, which is kept in a closed review."""
    created = sets.create(clinic.sessions, "r-1", SamplingRule(size=10, second_share=0), by="op-1")
    while photo := voting.claim_next(clinic.sessions, created.id, by="dr-1", lease=LEASE):
        voting.vote(clinic.sessions, created.id, photo, good=False, reasons=[FindingKind.MOTION], by="dr-1")
    return created


def _send_retakes(clinic: Clinic) -> None:
    """Claims and acknowledges every flagged request."""
    with clinic.sessions.begin() as session:
        for request in outbox.claim(session, limit=100, lease=LEASE, by="sender"):
            assert request.token
            assert outbox.acknowledge(session, [HeldRequest(request.id, request.token)])


def test_thread_is_archived_with_all_its_rows_unchanged(clinic: Clinic, tmp_path: Path) -> None:
    clinic.send("m-1", "0.2", thread="t")
    clinic.send("m-2", "0.9", "unreadable", thread="t")
    clinic.drain()
    _send_retakes(clinic)
    appeal(clinic.sessions, "m-1", by="n-1", reason="sharp enough")
    created = _vote(clinic)
    assert _archive(clinic, tmp_path) == []  # the review is open
    sets.close(clinic.sessions, created.id, by="op-1")
    before = {table: _rows(clinic, table) for table in TABLES}
    assert all(before.values())

    [line] = _archive(clinic, tmp_path)

    assert {table: _rows(clinic, table) for table in TABLES} == {table: [] for table in TABLES}
    votes = line.pop("photo_votes")
    assert {(vote["review"], vote["actor"], vote["good"], *vote["reasons"]) for vote in votes} == {
        ("r-1", "dr-1", False, "motion")
    }
    assert {vote["attachment_id"] for vote in votes} < {row["id"] for row in before["attachment"]}
    assert clinic.query("SELECT FROM reviewed_photo") == clinic.query("SELECT FROM photo_vote") == []
    assert [line.pop("thread")] == [{k: v for k, v in row.items() if k != "archived_at"} for row in before["thread"]]
    assert line == {f"{table}s": before[table] for table in TABLES if table != "thread"}


def test_audit_trail_records_the_hash_of_each_file_and_stays_valid(clinic: Clinic, tmp_path: Path) -> None:
    clinic.send("m-1", "0.9")
    clinic.drain()
    [message_id] = [row.id for row in clinic.query("SELECT id FROM message")]
    with clinic.sessions.begin() as session:
        audit.record_view(session, message_id, actor="dr-1")
    _archive(clinic, tmp_path)

    [file] = tmp_path.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    with clinic.sessions() as session:
        assert audit.verify(session).flaws == []
        assert [event.action for event in audit.events_of(session, message_id)] == ["message.seen"]
        [event] = audit.events_of(session, UUID(file.name.partition(".")[0]))
    assert (event.actor, event.action) == ("op-1", "threads.archived")
    assert event.details == {
        "role": "postgres",
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        "threads": 1,
        "messages": 1,
        "attachments": 1,
        "verdicts": 1,
    }


def test_thread_is_not_archived_when_it_is_still_open(clinic: Clinic, tmp_path: Path) -> None:
    clinic.send("old", "0.9", thread="done")
    clinic.send("answered", "0.9", thread="alive")
    clinic.send("asked", "0.2", thread="request waits")
    clinic.drain()
    clinic.send("waits", "0.9", thread="photo waits")
    before = datetime.now(UTC)
    clinic.send("young", "0.9", thread="alive")
    claim = clinic.inbox.claim(1, retry=False)
    assert claim is not None

    lines = _archive(clinic, tmp_path, before)

    assert [line["thread"]["external_id"] for line in lines] == ["done"]
    left = {row.external_id for row in clinic.query("SELECT external_id FROM message")}
    assert left == {"answered", "asked", "waits", "young"}
    assert _archive(clinic, tmp_path, before) == []
    assert len(list(tmp_path.iterdir())) == 1  # archiving nothing leaves no file


def test_every_old_thread_is_archived_when_there_are_many_batches(
    clinic: Clinic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archiving, "MESSAGES_PER_BATCH", 2)
    for number in range(7):
        clinic.send(f"m-{number}", "0.9", thread=f"t-{number // 2}")
    clinic.drain()

    lines = _archive(clinic, tmp_path)

    assert sorted(line["thread"]["external_id"] for line in lines) == [f"t-{n}" for n in range(4)]
    assert len(list(tmp_path.iterdir())) > 1
    assert _rows(clinic, "message") == []


def test_nothing_is_lost_when_archiving_is_interrupted_between_the_file_and_the_rows(
    clinic: Clinic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clinic.send("m-1", "0.9")
    clinic.drain()
    with monkeypatch.context() as cut:
        cut.setattr(audit, "record", _raise(InterruptedError()))
        with pytest.raises(InterruptedError):
            _archive(clinic, tmp_path)

    [orphan] = tmp_path.iterdir()
    assert len(_rows(clinic, "verdict")) == 1
    assert _rows(clinic, "audit_event") == []

    assert len(_archive(clinic, tmp_path)) == 1
    assert len(list(tmp_path.iterdir())) == 2
    assert orphan.name.partition(".")[0] not in {row["subject_id"] for row in _rows(clinic, "audit_event")}


def test_nothing_is_deleted_when_the_folder_cannot_be_written(clinic: Clinic, tmp_path: Path) -> None:
    clinic.send("m-1", "0.9")
    clinic.drain()
    (tmp_path / "file").write_text("in the way", encoding="utf-8")

    with pytest.raises(UsageError, match="the archive cannot be written"):
        _archive(clinic, tmp_path / "file")
    assert len(_rows(clinic, "verdict")) == 1


def test_messages_are_accepted_and_decided_while_archiving_is_in_progress(
    clinic: Clinic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the middle of the transaction of archiving, with the rows deleted but nothing committed."""
    clinic.send("old", "0.9", thread="old")
    clinic.drain()
    remove = archive_rows.remove

    def remove_slowly(*arguments: Any) -> dict[str, int]:
        counts = remove(*arguments)
        clinic.send("new", "0.2", thread="new")
        clinic.drain()
        return counts

    monkeypatch.setattr(archive_rows, "remove", remove_slowly)
    _archive(clinic, tmp_path)

    assert clinic.decisions("new") == [("retake", "no_photo_passed")]
    assert clinic.decisions("old") == []


def test_message_starts_a_new_thread_when_its_thread_is_being_archived(
    clinic: Clinic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clinic.send("old", "0.9", thread="t")
    clinic.drain()
    remove = archive_rows.remove
    sender = threading.Thread(target=clinic.send, args=("new", "0.9"), kwargs={"thread": "t"})

    def remove_while_one_comes(*arguments: Any) -> dict[str, int]:
        sender.start()
        sender.join(timeout=0.5)  # waits for the lock of the thread
        assert sender.is_alive()
        return remove(*arguments)

    monkeypatch.setattr(archive_rows, "remove", remove_while_one_comes)
    _archive(clinic, tmp_path)
    sender.join(timeout=30)

    assert [row["external_id"] for row in _rows(clinic, "message")] == ["new"]
    assert len(_rows(clinic, "thread")) == 1


def test_rescoring_continues_when_its_photos_were_archived(
    clinic: Clinic, make_other: Callable[[float], OtherModel], tmp_path: Path
) -> None:
    clinic.send("old", "0.9")
    clinic.drain()
    before = datetime.now(UTC)
    clinic.send("young", "0.9")
    clinic.drain()
    model = make_other(0.9)
    with clinic.sessions.begin() as session:
        run, _ = create_run(session, RescoringParameters(model_version_id=model.model_version_id), actor="test")
    rescoring = Rescoring(clinic.sessions, lambda _: model, photos_per_batch=9, lease=LEASE, policy=clinic.policy)
    work = rescoring.take()
    assert work is not None

    _archive(clinic, tmp_path, before)
    work.record(work.score())
    while work := rescoring.take():
        work.record(work.score())

    with clinic.sessions() as session:
        ended = runs.find(session, run.id)
    assert (ended.status, ended.progress["scored"]) == (RunStatus.DONE, 1)


def test_message_is_unknown_when_it_was_archived_concurrently(clinic: Clinic, tmp_path: Path) -> None:
    message = MessageId(clinic.send("old", "0.9").id)
    clinic.drain()
    with clinic.sessions.begin() as session:
        messages.find_message(session, "old")
        _archive(clinic, tmp_path)
        with pytest.raises(UsageError, match="no message has this id"):
            messages.lock_with_thread(session, message)


@pytest.mark.parametrize("unmark", ["UPDATE thread SET archived_at = NULL", "SELECT"])
def test_transaction_is_rejected_when_an_archived_thread_is_kept(clinic: Clinic, unmark: str) -> None:
    clinic.send("m-1", "0.9")
    clinic.drain()

    with clinic.sessions() as session:
        for statement in ("UPDATE thread SET archived_at = now()", "DELETE FROM verdict", unmark):
            session.execute(text(statement))
        with pytest.raises(DBAPIError, match="a thread must be archived as a whole"):
            session.commit()

    assert len(_rows(clinic, "verdict")) == 1


def test_command_requires_the_role_that_owns_the_tables(
    triage: Callable[..., Result],
    environment: Callable[[str, str], None],
    embedded: StateFolder,
    database: str,
    clinic: Clinic,
    tmp_path: Path,
) -> None:
    clinic.send("old", "0.9")
    clinic.drain()
    command = ("archive", "--days", "1e-9", "--to", tmp_path / "archive")

    refused = triage(*command)
    assert (refused.code, refused.complaint()) == (
        2,
        (
            "triage: permission denied for this database role: connect as the role that this operation requires "
            "(set TRIAGE_DATABASE__URL; `triage db roles` creates the roles and `triage db upgrade` grants their "
            "privileges)"
        ),
    )

    assert len(_rows(clinic, "verdict")) == 1
    environment("DATABASE__URL", embedded.database_url(database, role=MIGRATOR))
    assert triage("archive", "--days", 1, "--dry-run", "--json").json["threads"] == 0
    assert triage("archive", "--days", "1e-9", "--dry-run").out == "threads to archive: 1\n"
    done = triage(*command, "--by", "op-1", "--json")

    [file] = (tmp_path / "archive").iterdir()
    files = [{"file": str(file), "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}]
    counts = {"threads": 1, "messages": 1, "attachments": 1, "verdicts": 1, "files": files}
    assert done.json == {"before": done.json["before"], "dry_run": False} | counts
    assert _rows(clinic, "verdict") == []


def test_command_reports_completed_files_when_it_fails(
    triage: Callable[..., Result],
    environment: Callable[[str, str], None],
    embedded: StateFolder,
    database: str,
    clinic: Clinic,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(archiving, "MESSAGES_PER_BATCH", 1)
    clinic.send("first", "0.9")
    clinic.send("second", "0.9")
    clinic.drain()
    write = write_durably
    written: list[Path] = []

    def write_one(path: Path, data: bytes) -> None:
        if written:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, data)
        written.append(path)

    monkeypatch.setattr(archive_file, "write_durably", write_one)
    environment("DATABASE__URL", embedded.database_url(database, role=MIGRATOR))

    result = triage("archive", "--days", "1e-9", "--to", tmp_path)

    [file] = tmp_path.iterdir()
    assert result.out == f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file}\n"
    assert (result.code, "No space left" in result.complaint()) == (2, True)
    assert "1 files are complete" in result.complaint()
    assert len(_rows(clinic, "thread")) == 1


def test_thread_is_archived_by_its_time_of_receipt_and_not_by_its_ids(clinic: Clinic, tmp_path: Path) -> None:
    """The ids of imported messages have the time of the import."""
    for name in ("new", "imported", "imported too"):
        clinic.send(name, "0.9")
    clinic.drain()
    clinic.execute("UPDATE message SET received_at = '2020-01-02' WHERE external_id LIKE 'imported%'")

    lines = _archive(clinic, tmp_path, datetime(2021, 1, 1, tzinfo=UTC))

    assert {line["messages"][0]["external_id"] for line in lines} == {"imported", "imported too"}


def _raise(error: Exception) -> Callable[..., Any]:
    def call(*_: object, **__: object) -> None:
        raise error

    return call


@pytest.fixture
def archived(clinic: Clinic, tmp_path: Path) -> Path:
    """A folder with the archive file of two threads. One has two messages, of which one is overridden twice."""
    clinic.send("m-1", "0.9", "a/unreadable", thread="t", locale="es")
    clinic.send("m-2", "0.8", thread="t")
    clinic.send("other", "0.9")
    clinic.drain()
    for outcome in (Outcome.RETAKE, Outcome.PASS):
        override(clinic.sessions, "m-1", outcome, by="n-1", reason="Erika's left arm", policy=clinic.policy)
    _archive(clinic, tmp_path)
    return tmp_path


def _lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for file in folder.iterdir() for line in gzip.decompress(file.read_bytes()).splitlines()]


def _forget(clinic: Clinic, folder: Path, message: str = "m-1", source: str | None = None) -> list[Rewritten]:
    return forget_archived(clinic.sessions, folder, message, source, by="op-1", reason="request-17")


def test_message_is_forgotten_in_a_file_as_in_the_tables(clinic: Clinic, archived: Path) -> None:
    before = _lines(archived)
    [old] = archived.iterdir()

    [rewritten] = _forget(clinic, archived)

    [file] = archived.iterdir()
    assert (file, hashlib.sha256(file.read_bytes()).hexdigest()) == (rewritten.file, rewritten.sha256)
    after = _lines(archived)
    [message_id] = map(str, rewritten.messages)
    story = next(line for line in after if len(line["messages"]) == 2)
    [forgotten] = [row for row in story["messages"] if row["forgotten_at"]]
    assert (forgotten["id"], forgotten["external_id"]) == (message_id, f"forgotten:{message_id}")
    photos = [row for row in story["attachments"] if row["message_id"] == message_id]
    assert len(photos) == 2
    assert {row[name] for row in photos for name in ("sha256", "uri", "photo_group", "declared_type")} == {None}
    assert {row["note"] for row in story["decisions"]} == {None}
    for trace in ("m-1", "Erika", "a/unreadable", "Gracias por su mensaje"):
        assert trace in json.dumps(before)
        assert trace not in json.dumps(after)
    assert story["thread"]["external_id"] == "t"  # another message of the thread is not forgotten
    assert [line["verdicts"] for line in after] == [line["verdicts"] for line in before]
    assert [line for line in after if line is not story] == [line for line in before if len(line["messages"]) == 1]
    with clinic.sessions() as session:
        assert audit.verify(session).flaws == []
        assert audit.events_of(session, UUID(message_id))[-1].details["reason"] == "request-17"
        [replaced] = audit.events_of(session, UUID(old.name.partition(".")[0]))[1:]
        [written] = audit.events_of(session, UUID(file.name.partition(".")[0]))
    assert (replaced.action, written.action) == ("archive.replaced", "archive.written")
    assert written.details["sha256"] == rewritten.sha256


def test_thread_is_forgotten_with_its_last_message(clinic: Clinic, archived: Path) -> None:
    _forget(clinic, archived, "m-1")
    _forget(clinic, archived, "m-2")

    [story] = [line for line in _lines(archived) if len(line["messages"]) == 2]
    assert story["thread"]["external_id"] == f"forgotten:{story['thread']['id']}"
    with pytest.raises(UsageError, match="no archive file of this folder holds the message"):
        _forget(clinic, archived, "m-2")


def test_retry_deletes_an_old_file_that_was_left(clinic: Clinic, archived: Path) -> None:
    [old] = archived.iterdir()
    content = old.read_bytes()
    first = _forget(clinic, archived)
    old.write_bytes(content)  # as after an interruption before the deletion of the old file

    assert _forget(clinic, archived) == first

    [_] = archived.iterdir()
    assert "Erika" not in json.dumps(_lines(archived))


def test_old_file_that_was_left_does_not_undo_forgetting_when_another_message_is_forgotten(
    clinic: Clinic, archived: Path
) -> None:
    [old] = archived.iterdir()
    content = old.read_bytes()
    _forget(clinic, archived, "m-1")
    old.write_bytes(content)

    [rewritten] = _forget(clinic, archived, "m-2")

    assert list(archived.iterdir()) == [rewritten.file]
    assert all(
        row["forgotten_at"] for line in _lines(archived) for row in line["messages"] if len(line["messages"]) == 2
    )


def test_forgetting_is_refused_while_another_process_holds_the_lock(clinic: Clinic, archived: Path) -> None:
    with try_lock(clinic.sessions.kw["bind"], LOCK) as lock:
        assert lock is not None
        with pytest.raises(LockedError, match="another process"):
            _forget(clinic, archived)


def test_old_file_is_kept_when_its_replacement_is_missing(clinic: Clinic, archived: Path) -> None:
    """As in a copy of an archive; the file also holds other threads."""
    [old] = archived.iterdir()
    content = old.read_bytes()
    [rewritten] = _forget(clinic, archived)
    rewritten.file.unlink()
    old.write_bytes(content)

    with pytest.raises(UsageError, match="is missing"):
        _forget(clinic, archived)

    assert [file.read_bytes() for file in archived.iterdir()] == [content]


def test_retry_overwrites_the_file_of_an_interrupted_attempt(
    clinic: Clinic, archived: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as cut:
        cut.setattr(audit, "record", _raise(InterruptedError()))
        with pytest.raises(InterruptedError):
            _forget(clinic, archived)
    assert len(list(archived.iterdir())) == 2

    [rewritten] = _forget(clinic, archived)

    assert list(archived.iterdir()) == [rewritten.file]


def test_nothing_is_forgotten_when_one_file_was_changed(clinic: Clinic, archived: Path) -> None:
    clinic.send("m-1", "0.9")  # resubmits the same id
    clinic.drain()
    _archive(clinic, archived)
    first, second = sorted(archived.iterdir())
    second.write_bytes(gzip.compress(gzip.decompress(second.read_bytes())[:-1]))
    before = [file.read_bytes() for file in (first, second)]

    with pytest.raises(UsageError, match="differs from its record"):
        _forget(clinic, archived)

    assert [file.read_bytes() for file in sorted(archived.iterdir())] == before


def test_file_is_rejected_when_only_a_worker_recorded_its_hash(
    clinic: Clinic, archived: Path, embedded: StateFolder, database: str
) -> None:
    [file] = archived.iterdir()
    changed = gzip.compress(gzip.decompress(file.read_bytes()).replace(b'"en"', b'"fr"'))
    clinic.execute("DROP ROLE IF EXISTS alice")
    clinic.execute(f"CREATE ROLE alice LOGIN IN ROLE {WORKER}")  # a person's own login
    engine = create_database_engine(embedded.database_url(database, role="alice"))
    forged = file.with_name(f"{new_id()}.jsonl.gz")
    file.unlink()
    forged.write_bytes(changed)
    with create_sessions(engine).begin() as session:
        audit.record(
            session,
            actor="op-1",
            action="threads.archived",
            subject_kind="archive",
            subject_id=UUID(forged.name.partition(".")[0]),
            sha256=hashlib.sha256(changed).hexdigest(),
        )
    engine.dispose()

    with pytest.raises(UsageError, match="differs from its record"):
        _forget(clinic, archived)


def test_file_is_unchanged_when_the_audit_trail_does_not_know_its_hash(clinic: Clinic, archived: Path) -> None:
    [file] = archived.iterdir()
    changed = gzip.compress(gzip.decompress(file.read_bytes()).replace(b'"en"', b'"fr"'))
    file.write_bytes(changed)

    with pytest.raises(UsageError, match="differs from its record"):
        _forget(clinic, archived)

    assert [each.read_bytes() for each in archived.iterdir()] == [changed]


@pytest.mark.parametrize(
    "data",
    [b"no gzip", gzip.compress(b"no json"), gzip.compress(b'{"messages": 1}')],
    ids=["no gzip", "no JSON", "no thread"],
)
def test_error_names_the_file_when_it_is_not_an_archive_file(clinic: Clinic, tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.jsonl.gz").write_bytes(data)

    with pytest.raises(UsageError, match=r"x\.jsonl\.gz"):
        _forget(clinic, tmp_path)


def test_source_is_required_when_several_sources_use_the_same_id(clinic: Clinic, tmp_path: Path) -> None:
    for source in ("ehr", "portal"):
        clinic.send("m-1", "0.9", source=source)
    clinic.drain()
    _archive(clinic, tmp_path)

    with pytest.raises(UsageError, match="several sources"):
        _forget(clinic, tmp_path)
    [rewritten] = _forget(clinic, tmp_path, source="portal")

    assert len(rewritten.messages) == 1
    assert sorted(row["source"] for line in _lines(tmp_path) for row in line["messages"] if row["forgotten_at"]) == [
        "portal"
    ]


def test_command_forgets_in_archive_files(
    clinic: Clinic,
    triage: Callable[..., Result],
    environment: Callable[[str, str], None],
    embedded: StateFolder,
    database: str,
    archived: Path,
) -> None:
    environment("DATABASE__URL", embedded.database_url(database, role=MIGRATOR))
    command = ("forget", "m-1", "--archive", archived, "--by", "op-1", "--reason", "request-17", "--json")

    with try_lock(clinic.sessions.kw["bind"], LOCK) as lock:
        assert lock is not None
        assert triage(*command).code == 1  # the command is right, its work failed
    [written] = triage(*command).json

    assert [written["file"]] == [str(file) for file in archived.iterdir()]
    assert (triage(*command).code, len(written["messages"])) == (2, 1)


def test_votes_on_its_photos_are_forgotten_in_a_file_with_the_message(clinic: Clinic, tmp_path: Path) -> None:
    clinic.send("m-1", "a/0.9", thread="t")
    clinic.send("m-2", "b/0.8", thread="t")
    clinic.drain()
    sets.close(clinic.sessions, _vote(clinic).id, by="op-1")
    _archive(clinic, tmp_path)

    _forget(clinic, tmp_path, "m-1")

    [line] = _lines(tmp_path)
    left = {row["id"] for row in line["attachments"] if row["external_id"] == "b/0.8"}
    assert {vote["attachment_id"] for vote in line["photo_votes"]} == left
