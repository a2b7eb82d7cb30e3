"""The words of the product: ids, states and the values that pass between its parts."""

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, NewType, TypeAlias
from uuid import UUID

from uuid_utils.compat import uuid7

from triage.errors import ErrorCode

MessageId = NewType("MessageId", UUID)
ThreadId = NewType("ThreadId", UUID)
AttachmentId = NewType("AttachmentId", UUID)
ModelVersionId = NewType("ModelVersionId", UUID)
DecisionId = NewType("DecisionId", UUID)
RetakeRequestId = NewType("RetakeRequestId", UUID)
RunId = NewType("RunId", UUID)
LeaseToken = NewType("LeaseToken", UUID)

PATCHES = ("top_left", "top_right", "bottom_left", "bottom_right", "centre")
"""The five regions of a photo, each half of its height and width, in the order of every list of patches."""


def new_id() -> UUID:
    """A fresh UUIDv7 (RFC 9562): unique, and sorted by the time it was made."""
    return uuid7()


CLOCKS_AGREE: Final = timedelta(days=1)
"""At the worst; `triage doctor` compares them. Ids are made by senders and workers, times by the database."""


def first_id(moment: datetime) -> UUID:
    """An id below that of every row made from this moment on, while `CLOCKS_AGREE` holds."""
    milliseconds = int((moment.timestamp() - CLOCKS_AGREE.total_seconds()) * 1000)
    return UUID(int=max(0, milliseconds) << 80)  # UUIDv7 begins with the year 1970


class AttachmentStatus(StrEnum):
    PENDING = "pending"
    IN_PROGRESS = "in_progress"
    SCORED = "scored"
    NOT_ASSESSABLE = "not_assessable"


class Outcome(StrEnum):
    """What becomes of a message. `uncertain` and `not_assessable` go to staff; none holds a message back."""

    PASS = "pass"  # noqa: S105  # an outcome, not a password
    RETAKE = "retake"
    UNCERTAIN = "uncertain"
    NOT_ASSESSABLE = "not_assessable"


class Reason(StrEnum):
    """Why a message has its outcome. Stable: reports and message systems rely on these names."""

    PHOTO_PASSED = "photo_passed"
    NO_PHOTO_PASSED = "no_photo_passed"
    NEAR_THRESHOLD = "near_threshold"
    UNREADABLE_PHOTO = "unreadable_photo"
    NO_READABLE_PHOTO = "no_readable_photo"
    REQUEST_LIMIT = "request_limit"
    COOLDOWN = "cooldown"
    IDENTICAL_RESEND = "identical_resend"
    OPTED_OUT = "opted_out"
    OVERRIDE = "override"


class DecidedBy(StrEnum):
    MODEL = "model"
    RESCORING = "rescoring"
    PERSON = "person"


class VerdictOrigin(StrEnum):
    """What a verdict was made for. Only those of the inbox decide a message."""

    INBOX = "inbox"
    RESCORING = "rescoring"
    SHADOW = "shadow"


class RetakeStatus(StrEnum):
    FLAGGED = "flagged"
    CLAIMED = "claimed"
    SENT = "sent"
    WITHDRAWN = "withdrawn"


class Stage(StrEnum):
    CANDIDATE = "candidate"
    SHADOW = "shadow"
    LIVE = "live"
    RETIRED = "retired"


class RunKind(StrEnum):
    TRAINING = "training"
    RESCORING = "rescoring"


class RunStatus(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class FindingKind(StrEnum):
    """What is wrong with a photo, in terms that a patient can act on. Stable: reports rely on these names."""

    DEFOCUS = "defocus"
    MOTION = "motion"
    TOO_DARK = "too_dark"
    TOO_BRIGHT = "too_bright"
    LOW_RESOLUTION = "low_resolution"
    COLOUR_CAST = "colour_cast"
    BADLY_FRAMED = "badly_framed"
    NO_SKIN = "no_skin"


class FindingLevel(StrEnum):
    MILD = "mild"
    SEVERE = "severe"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something measured on a photo that explains a verdict. It never overrules the model.

    Attributes:
        strength: 0 to 1, of all findings alike: each is told from 0.5 on, and is severe from a strength of its own on.
        patches: indices of the patches that show it (top left, top right, bottom left, bottom right, centre); empty
            where it is of the photo as a whole.
    """

    kind: FindingKind
    level: FindingLevel
    strength: float
    patches: tuple[int, ...] = ()


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
class PhotoScore:
    """What the network says of one photo.

    Attributes:
        cumulative: P(votes >= 1) ... P(votes >= K), each in [0, 1], never increasing.
        patch_scores: P(votes >= good_votes) of each patch: top left, top right, bottom left, bottom right, centre.
        score: P(votes >= good_votes) of the photo, the pooled patches.
        grade: the predicted number of votes, 0 to K: how many cumulative probabilities exceed one half.
    """

    cumulative: tuple[float, ...]
    patch_scores: tuple[float, ...]
    score: float
    grade: int


@dataclass(frozen=True, slots=True)
class PhotoFacts:
    """What decoding learned of a photo.

    Attributes:
        sha256: of its bytes.
        width, height: in pixels, upright.
        media_type: what the bytes are, whatever they were declared to be.
        n_frames: pictures in the file.
        frame: which of them was judged, from 0.
    """

    sha256: str
    width: int
    height: int
    media_type: str
    n_frames: int = 1
    frame: int = 0


@dataclass(frozen=True, slots=True)
class Scored:
    """An attachment's photo was scored."""

    id: AttachmentId
    facts: PhotoFacts
    score: PhotoScore
    acceptable: bool
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class NotAssessable:
    """An attachment cannot be assessed, whoever tries. It is recorded with its code and goes to staff."""

    id: AttachmentId
    code: ErrorCode
    sha256: str | None = None
    media_type: str | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """An attachment failed this time. It is tried again, alone, until its attempts are used up."""

    id: AttachmentId
    code: ErrorCode


Assessment: TypeAlias = Scored | NotAssessable | Failed


@dataclass(frozen=True, slots=True)
class AssessedBatch:
    """Assessments by one model at its threshold.

    Attributes:
        network_seconds: the time spent inside the network.
        shadows: what models in the shadow say of the same photos; it decides nothing.
    """

    model_version_id: ModelVersionId
    threshold: float
    assessments: Sequence[Assessment]
    network_seconds: float = 0.0
    shadows: Sequence["AssessedBatch"] = ()


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
class Run:
    """A training or rescoring run: a row with a lease and a heartbeat, so that any worker can go on with it."""

    id: RunId
    kind: RunKind
    status: RunStatus
    parameters: Mapping[str, object]
    progress: Mapping[str, object]
    attempts: int
    error: str | None
    created_at: datetime
    started_at: datetime | None
    heartbeat_at: datetime | None
    finished_at: datetime | None
