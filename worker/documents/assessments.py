"""Photos that are checked before they are sent."""

from typing import Self

from pydantic import Field

from triage.domain.assessments import PhotoAnswer
from triage.domain.replies import Tip
from triage.domain.text import UNDETERMINED
from triage.errors import ErrorCode
from worker.documents.document import Call, Document
from worker.documents.replies import PhotoReasonDocument


class AssessmentForm(Call):
    """A form with one photo, in a part of any name; its file name is ignored. `locale` is the language of the tip."""

    photo: bytes = Field(json_schema_extra={"type": "string", "format": "binary"})
    locale: str = UNDETERMINED


class TipDocument(Document):
    """What the patient can do better: plain text, a paragraph for each of at most two reasons."""

    locale: str
    catalogue_version: str
    text: str


class AssessmentDocument(Document):
    """Whether a photo is good enough to send.

    `reasons` starts with the strongest. `tip` is null for a photo that is acceptable. `error_code` says why a photo
    cannot be assessed, such as `unknown_format`; then it is not acceptable and has no score.
    """

    acceptable: bool
    score: float | None
    reasons: list[PhotoReasonDocument]
    tip: TipDocument | None
    error_code: ErrorCode | None
    model: str

    @classmethod
    def of(cls, answer: PhotoAnswer, tip: Tip | None) -> Self:
        return cls(
            acceptable=answer.acceptable,
            score=answer.score,
            reasons=[PhotoReasonDocument(kind=each.kind, severity=each.severity) for each in answer.reasons],
            tip=TipDocument(locale=tip.locale, catalogue_version=tip.catalogue_version, text=tip.text) if tip else None,
            error_code=answer.error_code,
            model=answer.model,
        )
