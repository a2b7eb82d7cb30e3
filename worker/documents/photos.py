"""Photos: findings, and scores without a queue."""

from typing import Literal

from triage.domain.states import FindingKind, FindingLevel
from triage.errors import ErrorCode
from worker.documents.document import Document


class FindingDocument(Document):
    """A reason why a photo fails, the patches that show it, and what the patient can do about it.

    `probability` is that of the model's reason head, and null if the model has none.
    """

    kind: FindingKind
    level: FindingLevel
    strength: float
    probability: float | None
    patches: list[str]
    tip: str


class PhotoErrorDocument(Document):
    code: ErrorCode
    message: str


class PhotoFactsDocument(Document):
    media_type: str
    width: int
    height: int
    n_frames: int
    frame: int


class PhotoScoreDocument(Document):
    """The score of one file, or the reason why it cannot be assessed."""

    path: str
    outcome: Literal["scored", "not_assessable"]
    acceptable: bool | None
    score: float | None
    cumulative: list[float] | None
    grade: int | None
    patch_scores: list[float] | None
    findings: list[FindingDocument]
    error: PhotoErrorDocument | None
    model: str
    photo: PhotoFactsDocument | None
