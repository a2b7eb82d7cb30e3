"""Messages: intake, claims, recorded results and retake requests."""

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, field
from datetime import datetime

from triage.domain.ids import AttachmentId, LeaseToken, MessageId, RetakeRequestId
from triage.domain.states import AttachmentStatus, RetakeStatus
from triage.errors import ErrorCode


@dataclass(frozen=True, slots=True)
class IncomingAttachment:
    """One photo as its sender hands it over: its bytes, or a URI to fetch them from. Exactly one of the two.

    `external_id` is the sender's id of the attachment; without one, the SHA-256 of the bytes (or of the URI) serves.
    `group` joins photos of one skin site: one that passes is enough for its group. `declared_type` is the media type
    that the sender claims; it is noted and never trusted.
    """

    data: bytes | None = field(default=None, repr=False)
    uri: str | None = field(default=None, repr=False)
    external_id: str | None = None
    group: str | None = None
    declared_type: str | None = None


@dataclass(frozen=True, slots=True)
class IncomingMessage:
    """A message as its sender hands it over. All ids are opaque: no name, date of birth or record number."""

    source: str
    external_id: str
    attachments: Sequence[IncomingAttachment]
    thread: str | None = None
    role: str = "patient"
    locale: str = "en"
    opted_out: bool = False


@dataclass(frozen=True, slots=True)
class AcceptedAttachment:
    id: AttachmentId
    external_id: str
    status: AttachmentStatus
    error_code: ErrorCode | None


@dataclass(frozen=True, slots=True)
class Acceptance:
    """What intake made of a message. `created` is false where the same ids were here before and nothing changed."""

    id: MessageId
    source: str
    external_id: str
    attachments: Sequence[AcceptedAttachment]
    created: bool


@dataclass(frozen=True, slots=True)
class ClaimedAttachment:
    """An attachment that this worker holds until its lease runs out."""

    id: AttachmentId
    sha256: str | None
    uri: str | None = field(repr=False)
    attempts: int


@dataclass(frozen=True, slots=True)
class Claim:
    """Attachments claimed together under one lease token."""

    token: LeaseToken
    attachments: Sequence[ClaimedAttachment]


@dataclass(frozen=True, slots=True)
class Recorded:
    """What one record transaction wrote. `stale` counts results refused because their lease had been lost."""

    scored: int = 0
    not_assessable: int = 0
    failed: int = 0
    stale: int = 0
    decided: int = 0
    flagged: int = 0

    def __add__(self, other: "Recorded") -> "Recorded":
        mine, theirs = astuple(self), astuple(other)
        return Recorded(*(a + b for a, b in zip(mine, theirs, strict=True)))


@dataclass(frozen=True, slots=True)
class RetakeRequest:
    """A flagged request for new photos, as the message system collects it."""

    id: RetakeRequestId
    message_id: MessageId
    source: str
    message: str
    thread: str
    locale: str
    status: RetakeStatus
    token: LeaseToken | None
    lease_until: datetime | None
    created_at: datetime
    model: str | None


@dataclass(frozen=True, slots=True)
class AssessedPhoto:
    """One photo of a message.

    Attributes:
        group: photos of one skin site share a group; None is the message as a whole.
        score: P(votes >= good_votes), or None where the photo is not assessable.
        threshold: the model's threshold for a single photo.
        thresholds_by_photo_count: its thresholds for groups of n photos, where the card has them.
        sha256: of the photo's bytes, where they could be read.
    """

    group: str | None
    score: float | None
    threshold: float
    thresholds_by_photo_count: Mapping[int, float]
    sha256: str | None


@dataclass(frozen=True, slots=True)
class ThreadHistory:
    """The retake requests that a thread has had, withdrawn ones left out.

    Attributes:
        requests: how many.
        last_request_at: when the latest was flagged.
        photos: SHA-256 of every photo in the messages that they answered.
    """

    requests: int = 0
    last_request_at: datetime | None = None
    photos: frozenset[str] = frozenset()
