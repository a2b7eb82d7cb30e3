"""What a retake request tells the patient: the photos with their reasons, and the reply."""

from datetime import date
from typing import Self
from uuid import UUID

from triage.domain.replies import Reply, RequestedPhoto
from triage.domain.states import FindingKind, FindingLevel
from triage.replies.catalogue import LocaleTexts
from worker.documents.document import Document


class PhotoReasonDocument(Document):
    """Why a photo fails."""

    kind: FindingKind
    severity: FindingLevel


class RequestedPhotoDocument(Document):
    """A photo to take again. `reasons` starts with the strongest, and is empty if none was measured."""

    attachment_id: str
    id: UUID
    group: str | None
    score: float | None
    reasons: list[PhotoReasonDocument]

    @classmethod
    def of(cls, photo: RequestedPhoto) -> Self:
        return cls(
            attachment_id=photo.external_id,
            id=photo.id,
            group=photo.group,
            score=photo.score,
            reasons=[PhotoReasonDocument(kind=each.kind, severity=each.severity) for each in photo.reasons],
        )


class ReplyDocument(Document):
    """What to send to the patient: plain text, paragraphs separated by an empty line.

    `locale` is the language of the text, which differs from that of the message if the catalogue lacks it.
    """

    locale: str
    catalogue_version: str
    subject: str
    text: str

    @classmethod
    def of(cls, reply: Reply) -> Self:
        return cls(
            locale=reply.locale,
            catalogue_version=reply.catalogue_version,
            subject=reply.subject,
            text=reply.text,
        )


class LocaleDocument(Document):
    """A language of the catalogue. `reviewed_by` is null for a draft."""

    locale: str
    language: str
    version: str
    reviewed_by: str | None
    reviewed_on: date | None
    default: bool

    @classmethod
    def of(cls, texts: LocaleTexts, *, default: bool) -> Self:
        review = texts.review
        return cls(
            locale=texts.tag,
            language=texts.language,
            version=texts.version,
            reviewed_by=review.by if review else None,
            reviewed_on=review.on if review else None,
            default=default,
        )
