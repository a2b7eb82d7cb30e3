from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.clinic import Clinic
from triage.blobs.store import BlobStore
from triage.blobs.uris import UriPolicy
from triage.domain.limits import IntakeLimits
from triage.domain.messages import IncomingAttachment, IncomingMessage
from triage.domain.states import AttachmentStatus
from triage.errors import ErrorCode, ServiceUnavailableError, UsageError
from triage.files.hashing import sha256_of
from triage.intake import Intake


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


def test_enqueue_decides_immediately_when_no_photo_is_accepted(clinic: Clinic) -> None:
    clinic.intake.enqueue([IncomingMessage("ehr", "m", [IncomingAttachment(uri="file:///etc/passwd")])])

    assert clinic.decisions("m") == [("not_assessable", "no_readable_photo")]


@pytest.mark.parametrize(
    ("message", "complaint"),
    [
        (IncomingMessage("ehr", "m", []), "no photos"),
        (IncomingMessage("ehr", "m", [IncomingAttachment(data=bytes([i])) for i in range(21)]), "21 photos"),
        (IncomingMessage("ehr", "", [IncomingAttachment(data=b"x")]), "printable"),
        (IncomingMessage("ehr", "a\nb", [IncomingAttachment(data=b"x")]), "printable"),
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
