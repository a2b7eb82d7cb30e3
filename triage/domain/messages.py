"""Messages: intake, claims, recorded results and retake requests."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import ClassVar, Final

from triage.domain.ids import AttachmentId, DecisionId, LeaseToken, MessageId, RetakeRequestId
from triage.domain.photos import Finding
from triage.domain.replies import Reply, RequestedPhoto
from triage.domain.states import AttachmentStatus, DecidedBy, Fitzpatrick, Outcome, Reason, RetakeStatus
from triage.domain.text import UNDETERMINED
from triage.errors import ErrorCode
from triage.files.received import ReceivedBytes

CHECKED: Final = {"strict": True, "revalidate_instances": "always", "arbitrary_types_allowed": True}
"""Pydantic's configuration of a dataclass that callers make: a use case checks the types of its fields."""


@dataclass(frozen=True, slots=True)
class IncomingAttachment:
    """A photo as submitted by its sender.

    Attributes:
        data: the bytes, or those that were received in pieces; exactly one of `data`, `uri` and `error_code` is given.
        uri: where the bytes are fetched from.
        error_code: why the entrance that took the message could not read the photo.
        external_id: the sender's id of the attachment; by default a prefix of the SHA-256 of the bytes or the URI.
        group: photos of one skin site share a group; one acceptable photo is enough for a group.
        declared_type: the media type that the sender claims; stored and never trusted.
    """

    __pydantic_config__: ClassVar = CHECKED
    data: bytes | ReceivedBytes | None = field(default=None, repr=False)
    uri: str | None = field(default=None, repr=False)
    external_id: str | None = None
    group: str | None = None
    declared_type: str | None = None
    error_code: ErrorCode | None = None


@dataclass(frozen=True, slots=True)
class Origin:
    """What a message refers to on the system that it was read from, so that answers find their way there.

    All are opaque references of that system, such as `Patient/7`, and removed when the message is forgotten or its
    photos have expired.

    Attributes:
        subject: the patient that the message is about.
        author: who wrote it.
        encounter: in which it was written.
    """

    __pydantic_config__: ClassVar = CHECKED
    subject: str | None = None
    author: str | None = None
    encounter: str | None = None


@dataclass(frozen=True, slots=True)
class IncomingMessage:
    """A message as submitted by its sender. All ids are opaque: no name, date of birth or record number.

    Attributes:
        locale: the language of replies, a BCP 47 tag.
        fitzpatrick: the patient's skin type, if known, so that reports can compare skin tones.
    """

    __pydantic_config__: ClassVar = CHECKED
    source: str
    external_id: str
    attachments: Sequence[IncomingAttachment]
    thread: str | None = None
    role: str = "patient"
    locale: str = UNDETERMINED
    opted_out: bool = False
    origin: Origin | None = None
    fitzpatrick: Fitzpatrick | None = None


@dataclass(frozen=True, slots=True)
class AcceptedAttachment:
    """A photo as stored.

    Attributes:
        conflict: another photo was stored under this id before; it is kept, and the submitted one is not stored.
        unchanged: the fields that were submitted with another value before, whose stored value is kept.
        requeued: it was parked because its bytes could not be read, and is pending again because it was resubmitted.
    """

    id: AttachmentId
    external_id: str
    status: AttachmentStatus
    error_code: ErrorCode | None
    conflict: bool = False
    unchanged: Sequence[str] = ()
    requeued: bool = False


@dataclass(frozen=True, slots=True)
class Acceptance:
    """The result of intake.

    Attributes:
        created: the message or one of its photos is new.
        is_new: the message is new, by this submission alone.
        unchanged: the fields that were submitted with another value before, whose stored value is kept.
        opted_out: no retake is requested for this message. Unlike other fields, a resubmission can set it.
    """

    id: MessageId
    source: str
    external_id: str
    attachments: Sequence[AcceptedAttachment]
    created: bool
    is_new: bool
    unchanged: Sequence[str] = ()
    opted_out: bool = False


@dataclass(frozen=True, slots=True)
class KnownMessage:
    """What is stored of a message, for the system that may send it again.

    Attributes:
        version: grows with each change: a photo is added, or the message opts out. Neither is ever undone.
        thread: the sender's id of the thread.
    """

    id: MessageId
    version: int
    thread: str
    locale: str
    received_at: datetime
    origin: Origin | None


@dataclass(frozen=True, slots=True)
class ClaimedAttachment:
    """An attachment that a worker holds until its lease expires.

    Attributes:
        is_retry: it failed before, or a worker that held it was lost.
    """

    id: AttachmentId
    sha256: str | None
    uri: str | None = field(repr=False)
    is_retry: bool = False

    @property
    def stored_sha256(self) -> str | None:
        """The hash of the bytes, which the blob store checks; None at a URI, where the bytes can change."""
        return self.sha256 if self.uri is None else None


@dataclass(frozen=True, slots=True)
class Claim:
    """Attachments claimed together under one lease token. `at` is the time of this process's monotonic clock."""

    token: LeaseToken
    attachments: Sequence[ClaimedAttachment]
    at: float = field(default_factory=time.monotonic, compare=False)


@dataclass(frozen=True, slots=True)
class Recorded:
    """Counts of what was recorded.

    Attributes:
        stale: results refused because their lease was lost.
        reasons: photos that were not scored, by error code.
    """

    scored: int = 0
    not_assessable: int = 0
    failed: int = 0
    stale: int = 0
    decided: int = 0
    flagged: int = 0
    reasons: Counter[ErrorCode] = field(default_factory=Counter)

    @property
    def photos(self) -> int:
        """All photos that were taken, whatever became of them."""
        return self.scored + self.not_assessable + self.failed + self.stale

    def __add__(self, other: "Recorded") -> "Recorded":
        return Recorded(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))


@dataclass(frozen=True, slots=True)
class RetakeRequest:
    """A retake request, as the message system collects it.

    Attributes:
        locale: the language that the message asks for.
        may_have_been_sent: a sender has claimed it at least once.
        photos: the photos to take again.
        reply: what to send to the patient; None once the message is forgotten.
    """

    id: RetakeRequestId
    message_id: MessageId
    source: str
    message: str
    thread: str
    locale: str
    status: RetakeStatus
    may_have_been_sent: bool
    token: LeaseToken | None
    lease_until: datetime | None
    created_at: datetime
    model: str | None
    photos: Sequence[RequestedPhoto]
    reply: Reply | None


@dataclass(frozen=True, slots=True)
class HeldRequest:
    """A claimed retake request that its sender acknowledges, and the token of the claim."""

    __pydantic_config__: ClassVar = CHECKED
    id: RetakeRequestId
    token: LeaseToken


@dataclass(frozen=True, slots=True)
class FeedDecision:
    """A decision, as the message system reads it in the feed.

    Attributes:
        position: its place in the feed.
        message: the sender's id of the message; `thread` is that of its thread.
        is_current: no later decision has superseded it.
        request_id: the retake request that it flagged, if any.
    """

    position: int
    id: DecisionId
    message_id: MessageId
    source: str
    message: str
    thread: str
    outcome: Outcome
    reason: Reason
    decided_by: DecidedBy
    model: str | None
    decided_at: datetime
    is_current: bool
    request_id: RetakeRequestId | None


@dataclass(frozen=True, slots=True)
class AssessedPhoto:
    """A photo of a message, as far as a decision and its retake request depend on it.

    Attributes:
        id: of the attachment.
        group: photos of one skin site share a group; None stands for the whole message.
        score: P(votes >= good_votes); None if not assessable.
        threshold: the model's threshold for a single photo.
        thresholds_by_photo_count: the model's thresholds for groups of n photos, if its card has any.
        sha256: hash of the bytes, if they were readable.
        findings: why it fails, the strongest first.
    """

    id: AttachmentId
    external_id: str
    group: str | None
    score: float | None
    threshold: float
    thresholds_by_photo_count: Mapping[int, float]
    sha256: str | None
    findings: Sequence[Finding] = ()


@dataclass(frozen=True, slots=True)
class ThreadHistory:
    """The retake requests of a thread, without those that were withdrawn before a sender claimed them.

    Attributes:
        requests: their number.
        last_request_at: when the latest was flagged.
        photos: SHA-256 of all photos in the messages that they answer.
    """

    requests: int = 0
    last_request_at: datetime | None = None
    photos: frozenset[str] = frozenset()
