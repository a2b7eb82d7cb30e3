from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from pathlib import Path
from time import sleep
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from tests.support.clinic import Clinic
from triage.blobs.store import BlobStore
from triage.blobs.uris import UriPolicy
from triage.domain.limits import IntakeLimits
from triage.domain.messages import Acceptance, IncomingAttachment, IncomingMessage
from triage.domain.states import AttachmentStatus, Outcome
from triage.errors import ErrorCode, ServiceUnavailableError, UsageError
from triage.files.hashing import sha256_of
from triage.intake import Intake
from triage.retakes.override import override
from triage.retakes.requests import acknowledge, claim


def test_enqueue_has_no_effect_when_the_same_ids_are_resubmitted(clinic: Clinic) -> None:
    first = clinic.send("m", "a/0.9", "b/0.9")
    again = clinic.send("m", "a/0.9", "b/0.9")

    assert first.created
    assert not again.created
    assert again.attachments == first.attachments
    assert len(clinic.query("SELECT 1 FROM attachment")) == 2
    assert len(clinic.wake_ups) == 1


def test_enqueue_adds_a_photo_when_a_known_message_has_a_new_one(clinic: Clinic) -> None:
    clinic.send("m", "a/0.9")
    more = clinic.send("m", "a/0.9", "b/0.9")

    assert more.created
    assert len(clinic.query("SELECT 1 FROM attachment")) == 2


def test_enqueue_stores_once_when_many_senders_race(clinic: Clinic) -> None:
    with ThreadPoolExecutor(8) as pool:
        acceptances = list(pool.map(lambda _: clinic.send("m", "a/0.9", "b/0.9", thread="t"), range(24)))

    assert sum(acceptance.created for acceptance in acceptances) == 1
    assert len({acceptance.id for acceptance in acceptances}) == 1
    assert len(clinic.query("SELECT 1 FROM attachment")) == 2


def test_enqueue_locks_threads_in_order_when_another_process_adds_the_message_to_another_thread(
    clinic: Clinic,
) -> None:
    """The order of a scoring worker, which locks both threads at once, so that it and the sender cannot deadlock."""
    clinic.send("m1", "a/0.9", thread="t1")
    clinic.send("m2", "b/0.9", thread="t2")
    with ThreadPoolExecutor(2) as pool, clinic.sessions() as other:
        other.execute(text("SELECT FROM thread WHERE external_id = 't1' FOR UPDATE"))
        other.execute(
            text(
                "INSERT INTO message (id, source, external_id, thread_id, role, locale, opted_out) "
                "SELECT gen_random_uuid(), 'ehr', 'm', id, 'patient', 'en', false FROM thread WHERE external_id = 't1'"
            )
        )
        sending = pool.submit(clinic.send, "m", "c/0.9", thread="t2")  # locks t2, and waits for the row of m
        _wait_for_blocked(clinic, 1)
        scoring = pool.submit(clinic.query, "SELECT external_id FROM thread ORDER BY id FOR UPDATE")  # waits for t1
        _wait_for_blocked(clinic, 2)
        other.commit()

        assert [row.external_id for row in scoring.result()] == ["t1", "t2"]
        assert sending.result().unchanged == ["thread"]


def _wait_for_blocked(clinic: Clinic, n: int) -> None:
    waiting = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    while len(clinic.query(waiting)) < n:
        sleep(0.01)


def test_enqueue_keeps_messages_apart_when_two_sources_use_one_id(clinic: Clinic) -> None:
    photo = IncomingAttachment(uri="file:///in/0.9")
    a, b = clinic.intake.enqueue([IncomingMessage(source, "m", [photo]) for source in ("one", "two")])

    assert a.id != b.id


def test_enqueue_records_an_error_code_when_a_photo_cannot_be_taken(clinic: Clinic) -> None:
    [acceptance] = clinic.intake.enqueue(
        [
            IncomingMessage(
                "ehr",
                "m",
                [
                    IncomingAttachment(data=b"x" * 1001, external_id="large"),
                    IncomingAttachment(uri="file:///etc/passwd", external_id="elsewhere"),
                    IncomingAttachment(uri="file:///in/0.9", external_id="fine"),
                ],
            )
        ]
    )

    assert [(a.external_id, a.status, a.error_code) for a in acceptance.attachments] == [
        ("large", AttachmentStatus.NOT_ASSESSABLE, ErrorCode.TOO_LARGE),
        ("elsewhere", AttachmentStatus.NOT_ASSESSABLE, ErrorCode.URI_NOT_ALLOWED),
        ("fine", AttachmentStatus.PENDING, None),
    ]
    [(uri,)] = clinic.query("SELECT uri FROM attachment WHERE external_id = 'elsewhere'")
    assert uri is None  # what was refused is not kept
    assert not clinic.decisions("m")


def test_enqueue_keeps_a_photo_that_its_entrance_could_not_read(clinic: Clinic) -> None:
    unread = IncomingAttachment(external_id="b", error_code=ErrorCode.ALTERED)

    [accepted] = clinic.intake.enqueue([IncomingMessage("ehr", "m", [unread])])[0].attachments

    assert (accepted.status, accepted.error_code) == (AttachmentStatus.NOT_ASSESSABLE, ErrorCode.ALTERED)
    assert clinic.decisions("m") == [("not_assessable", "no_readable_photo")]


@pytest.mark.parametrize("also", [{"data": b"1"}, {"uri": "file:///srv/1.jpg"}, {"external_id": None}])
def test_enqueue_refuses_a_photo_that_was_read_and_was_not(clinic: Clinic, also: dict[str, Any]) -> None:
    photo = IncomingAttachment(**{"external_id": "b", "error_code": ErrorCode.ALTERED} | also)

    with pytest.raises(UsageError, match="could not be read"):
        clinic.intake.enqueue([IncomingMessage("ehr", "m", [photo])])


def test_enqueue_decides_immediately_when_no_photo_is_accepted(clinic: Clinic) -> None:
    clinic.intake.enqueue([IncomingMessage("ehr", "m", [IncomingAttachment(uri="file:///etc/passwd")])])

    assert clinic.decisions("m") == [("not_assessable", "no_readable_photo")]


@pytest.mark.parametrize(
    ("message", "complaint"),
    [
        (IncomingMessage("ehr", "m", []), "no photos"),
        (IncomingMessage("ehr", "m", [IncomingAttachment(data=bytes([i])) for i in range(21)]), "more than 20 photos"),
        (IncomingMessage("ehr", "", [IncomingAttachment(data=b"x")]), "invalid message id"),
        (IncomingMessage("ehr", "a\nb", [IncomingAttachment(data=b"x")]), "invalid message id"),
        (IncomingMessage("ehr", "m", [IncomingAttachment(data=b"x")], thread="\u202et"), "invalid thread id"),
        (IncomingMessage("ehr", "m", [IncomingAttachment(data=b"x", external_id="\x9b")]), "invalid attachment id"),
        (IncomingMessage("ehr", "m", [IncomingAttachment(data=b"x", group="e\u0301")]), "invalid group"),
        (IncomingMessage("e h r", "m", [IncomingAttachment(data=b"x")]), "source"),
        (IncomingMessage("ehr", "m", [IncomingAttachment()]), "bytes or a URI"),
        (IncomingMessage("ehr", "m", [IncomingAttachment(data=b"x", uri="file:///in/x")]), "bytes or a URI"),
    ],
)
def test_enqueue_accepts_no_message_when_one_of_a_batch_is_malformed(
    clinic: Clinic, message: IncomingMessage, complaint: str
) -> None:
    good = IncomingMessage("ehr", "good", [IncomingAttachment(uri="file:///in/0.9")])

    with pytest.raises(UsageError, match=complaint):
        clinic.intake.enqueue([good, message])

    assert not clinic.query("SELECT 1 FROM message")
    assert not clinic.wake_ups


def test_enqueue_writes_bytes_before_any_row_when_the_store_is_full(clinic: Clinic, tmp_path: Path) -> None:
    (tmp_path / "blobs").write_text("a file where the folder should be")
    intake = Intake(
        clinic.sessions,
        BlobStore(str(tmp_path / "blobs")),
        UriPolicy([], max_bytes=1),
        limits=IntakeLimits(),
        policy=clinic.policy,
        wake_up=lambda: None,
    )

    with pytest.raises(ServiceUnavailableError, match="blob store"):
        intake.enqueue([IncomingMessage("ehr", "m", [IncomingAttachment(data=b"x")])])

    assert not clinic.query("SELECT 1 FROM message")


def test_enqueue_keeps_bytes_under_their_hash_when_two_messages_bring_the_same_photo(
    clinic: Clinic, jpeg: Callable[..., bytes]
) -> None:
    photo = jpeg(width=64, height=64)[:900]
    for name in ("one", "two"):
        clinic.intake.enqueue([IncomingMessage("ehr", name, [IncomingAttachment(data=photo)])])

    [blob] = clinic.query("SELECT sha256, media_type, size_bytes FROM blob")
    assert tuple(blob) == (sha256_of(photo), "image/jpeg", 900)


@pytest.mark.parametrize(
    "second",
    [
        IncomingAttachment(data=b"two", external_id="a-1"),
        IncomingAttachment(uri="file:///in/0.9", external_id="a-1"),
        IncomingAttachment(uri="file:///etc/passwd", external_id="a-1"),
    ],
)
def test_enqueue_refuses_a_message_and_names_the_id_when_two_photos_share_it(
    clinic: Clinic, second: IncomingAttachment
) -> None:
    message = IncomingMessage("ehr", "m", [IncomingAttachment(data=b"one", external_id="a-1"), second])

    with pytest.raises(UsageError, match="two photos have the attachment id 'a-1'"):
        clinic.intake.enqueue([message])

    assert not clinic.query("SELECT 1 FROM message")
    assert not clinic.query("SELECT 1 FROM blob")


def test_enqueue_stores_a_photo_once_when_a_message_repeats_it_under_its_id(clinic: Clinic) -> None:
    photo = IncomingAttachment(data=b"one", external_id="a-1")

    [acceptance] = clinic.intake.enqueue([IncomingMessage("ehr", "m", [photo, photo])])

    assert [(each.external_id, each.conflict) for each in acceptance.attachments] == [("a-1", False)] * 2
    assert len(clinic.query("SELECT 1 FROM attachment")) == 1


def test_enqueue_keeps_the_first_photo_and_reports_a_conflict_when_another_is_resubmitted(clinic: Clinic) -> None:
    def send(data: bytes) -> Acceptance:
        [acceptance] = clinic.intake.enqueue(
            [IncomingMessage("ehr", "m", [IncomingAttachment(data=data, external_id="a-1")])]
        )
        return acceptance

    first, same, other = send(b"one"), send(b"one"), send(b"two")

    assert [each.attachments[0].conflict for each in (first, same, other)] == [False, False, True]
    assert not other.created
    assert clinic.query("SELECT sha256 FROM attachment") == [(sha256_of(b"one"),)]
    kept = clinic.query("SELECT sha256 FROM blob WHERE purge_after IS NULL")
    assert kept == [(sha256_of(b"one"),)]  # the next purge deletes the bytes of the other photo


@pytest.mark.parametrize(
    ("first", "second", "is_conflict"),
    [
        ("file:///in/0.9", "file:///in/0.9", False),
        ("file:///in/0.9", "file:///in/0.8", True),
        ("file:///in/0.9", "file:///etc/passwd", True),
        ("file:///etc/passwd", "file:///in/0.9", True),
        ("file:///etc/passwd", "file:///etc/passwd", False),
    ],
)
def test_enqueue_reports_a_conflict_when_the_uri_of_an_id_changes(
    clinic: Clinic, first: str, second: str, *, is_conflict: bool
) -> None:
    for uri in (first, second):
        [acceptance] = clinic.intake.enqueue(
            [IncomingMessage("ehr", "m", [IncomingAttachment(uri=uri, external_id="a-1")])]
        )

    assert [each.conflict for each in acceptance.attachments] == [is_conflict]


def test_enqueue_reports_no_conflict_when_the_bytes_at_a_scored_uri_are_sent_later(clinic: Clinic) -> None:
    clinic.send("m", "0.9")
    clinic.drain()

    [acceptance] = clinic.intake.enqueue(
        [IncomingMessage("ehr", "m", [IncomingAttachment(data=b"file:///in/0.9", external_id="0.9")])]
    )

    assert [each.conflict for each in acceptance.attachments] == [False]


def test_enqueue_reports_the_fields_that_a_resubmission_does_not_change(clinic: Clinic) -> None:
    first = IncomingAttachment(data=b"one", external_id="a", group="arm", declared_type="image/png")
    again = IncomingAttachment(data=b"one", external_id="a", group="leg", declared_type="image/jpeg")
    clinic.intake.enqueue([IncomingMessage("ehr", "m", [first], thread="t", opted_out=True)])

    [changed] = clinic.intake.enqueue([IncomingMessage("ehr", "m", [again], thread="u", role="pcp", locale="de")])
    [omitted] = clinic.intake.enqueue(
        [IncomingMessage("ehr", "m", [IncomingAttachment(data=b"one", external_id="a")], opted_out=True)]
    )

    assert changed.unchanged == ["thread", "role", "locale", "opted_out"]
    assert changed.attachments[0].unchanged == ["group", "declared_type"]
    assert (omitted.unchanged, omitted.attachments[0].unchanged) == ([], [])
    assert clinic.query("SELECT role, locale, opted_out FROM message") == [("patient", "und", True)]
    assert clinic.query("SELECT external_id FROM thread") == [("t",)]


@pytest.mark.parametrize("is_held", [False, True])
def test_resubmission_that_opts_out_withdraws_the_request_and_hands_the_message_to_staff(
    clinic: Clinic, *, is_held: bool
) -> None:
    clinic.send("m", "0.1")
    clinic.send("other", "0.2")
    clinic.drain()
    if is_held:
        claim(clinic.sessions, limit=10, lease=timedelta(minutes=5), by="ehr")

    acceptance = clinic.send("m", "0.1", opted_out=True)

    assert (acceptance.created, acceptance.unchanged, acceptance.opted_out) == (False, [], True)
    assert clinic.requests() == [("m", "withdrawn"), ("other", "claimed" if is_held else "flagged")]
    assert clinic.decisions("m") == [("retake", "no_photo_passed"), ("uncertain", "opted_out")]
    assert clinic.query("SELECT actor, action FROM audit_event WHERE actor = 'intake' ORDER BY position") == [
        ("intake", "message.opted_out"),
        ("intake", "retake.withdrawn"),
    ]
    clinic.send("m", "0.1", opted_out=True)
    assert len(clinic.query("SELECT 1 FROM audit_event WHERE actor = 'intake'")) == 2  # idempotent


def test_resubmission_that_opts_out_prevents_a_request_when_photos_are_pending(clinic: Clinic) -> None:
    clinic.send("m", "0.1")
    clinic.send("m", "0.1", "0.2", opted_out=True)
    clinic.drain()

    assert clinic.requests() == []
    assert clinic.decisions("m") == [("uncertain", "opted_out")]


def test_resubmission_that_opts_out_keeps_a_person_s_decision_and_a_sent_request(clinic: Clinic) -> None:
    clinic.send("overridden", "0.9")
    clinic.send("sent", "0.1")
    clinic.drain()
    [sent] = claim(clinic.sessions, limit=10, lease=timedelta(minutes=5), by="ehr")
    assert sent.token
    acknowledge(clinic.sessions, sent.id, sent.token, by="ehr")
    decide = partial(override, clinic.sessions, by="nurse-7", policy=clinic.policy)
    decide("overridden", Outcome.RETAKE, reason="blurred")

    clinic.send("overridden", "0.9", opted_out=True)
    clinic.send("sent", "0.1", opted_out=True)

    assert clinic.requests() == [("sent", "sent"), ("overridden", "withdrawn")]
    assert clinic.decisions("overridden") == [("pass", "photo_passed"), ("retake", "override")]
    assert clinic.decisions("sent") == [("retake", "no_photo_passed")]


def test_opt_outs_win_when_they_race_with_scoring(clinic: Clinic) -> None:
    names = [f"m{number}" for number in range(12)]
    for name in names:
        clinic.send(name, "0.1")

    with ThreadPoolExecutor(4) as pool:
        drained = pool.submit(clinic.drain)
        list(pool.map(lambda name: clinic.send(name, "0.1", opted_out=True), names))
        drained.result()

    assert {status for _, status in clinic.requests()} <= {"withdrawn"}
    assert {clinic.decisions(name)[-1] for name in names} == {("uncertain", "opted_out")}


def test_opt_out_is_permanent_for_every_role(clinic: Clinic) -> None:
    clinic.send("m", "0.1", opted_out=True)

    with pytest.raises(DBAPIError, match="append-only"):
        clinic.execute("UPDATE message SET opted_out = false")


def test_resubmission_stays_in_the_first_thread_when_it_names_another(clinic: Clinic) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: clinic.send("m", "0.1", f"{number}/0.2", thread=f"t{number % 4}"), range(16)))

    assert len(clinic.query("SELECT DISTINCT thread_id FROM message")) == 1
    assert len(clinic.query("SELECT 1 FROM attachment")) == 17
