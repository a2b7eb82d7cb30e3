"""What is written back to the system that a message was read from: verdicts on its photos, and retake requests."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from triage.domain.ids import AttachmentId, RetakeRequestId
from triage.domain.messages import Origin
from triage.domain.photos import Finding
from triage.domain.replies import Reply
from triage.errors import ErrorCode


@dataclass(frozen=True, slots=True)
class ModelVerdict:
    """The verdict of a model on a photo.

    Attributes:
        threshold: for a single photo; below it the photo is not acceptable.
        model: the label of the model.
        weights_sha256: identifies the model.
    """

    id: UUID
    score: float
    threshold: float
    acceptable: bool
    grade: int
    findings: Sequence[Finding]
    model: str
    weights_sha256: str
    at: datetime


@dataclass(frozen=True, slots=True)
class AnsweredPhoto:
    """A photo with its verdict, or the reason why there is none.

    Attributes:
        external_id: the sender's id of the attachment.
        at: when it was finished.
    """

    id: AttachmentId
    external_id: str
    verdict: ModelVerdict | None
    error_code: ErrorCode | None
    at: datetime


@dataclass(frozen=True, slots=True)
class VerdictsAnswer:
    """The verdicts on the photos of a message, as they are now.

    Attributes:
        message: the sender's id of the message.
        origin: what the message refers to; None if that was removed.
    """

    message: str
    origin: Origin | None
    photos: Sequence[AnsweredPhoto]


@dataclass(frozen=True, slots=True)
class RequestAnswer:
    """A retake request of a message, as it is now.

    Attributes:
        message: the sender's id of the message.
        thread: the sender's id of its thread.
        origin: what the message refers to; None if that was removed.
        reply: the text for the patient; None if it was removed.
        is_answered: the patient has sent a message in answer.
    """

    id: RetakeRequestId
    message: str
    thread: str
    origin: Origin | None
    reply: Reply | None
    is_withdrawn: bool
    at: datetime
    is_answered: bool = False


Answer = VerdictsAnswer | RequestAnswer
