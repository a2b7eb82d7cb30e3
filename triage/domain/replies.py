"""What a retake request tells the patient: the reasons of each photo, and the reply as it was written."""

from collections.abc import Sequence
from dataclasses import dataclass

from triage.domain.ids import AttachmentId
from triage.domain.states import FindingKind, FindingLevel


@dataclass(frozen=True, slots=True)
class PhotoReason:
    """Why a photo fails."""

    kind: FindingKind
    severity: FindingLevel


@dataclass(frozen=True, slots=True)
class RequestedPhoto:
    """A photo that a retake request asks to take again.

    Attributes:
        id: of the attachment.
        external_id: the sender's id of the attachment.
        group: photos of one skin site share a group.
        score: P(votes >= good_votes); None if the photo was not assessed.
        reasons: the strongest first; empty if none was measured.
    """

    id: AttachmentId
    external_id: str
    group: str | None
    score: float | None
    reasons: Sequence[PhotoReason] = ()


@dataclass(frozen=True, slots=True)
class Tip:
    """What a patient can do better, in plain text. Attributes as those of `Reply`."""

    locale: str
    catalogue_version: str
    text: str


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply to a patient, in plain text.

    Attributes:
        locale: the language of the text, a BCP 47 tag. It may differ from the language that the message asks for.
        catalogue_version: identifies the texts that it is made of.
        text: paragraphs, separated by an empty line.
    """

    locale: str
    catalogue_version: str
    subject: str
    text: str
