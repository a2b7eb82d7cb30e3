"""Photos: patches, scores, findings and the assessment of one photo or a batch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from triage.domain.ids import AttachmentId, ModelVersionId
from triage.domain.states import FindingKind, FindingLevel
from triage.errors import ErrorCode

PATCHES = ("top_left", "top_right", "bottom_left", "bottom_right", "centre")
"""The five patches of a photo, each half of its height and width, in the order of every list of patches."""


def patch_windows(side: int) -> tuple[tuple[int, int], ...]:
    """Returns (top, left) of each patch of a square of `side` cells, a multiple of 4; a patch is side / 2 wide.

    >>> patch_windows(448)
    ((0, 0), (0, 224), (224, 0), (224, 224), (112, 112))
    """
    half, quarter = side // 2, side // 4
    return ((0, 0), (0, half), (half, 0), (half, half), (quarter, quarter))


@dataclass(frozen=True, slots=True)
class Finding:
    """A defect of a photo. It explains a verdict and never changes it.

    Attributes:
        strength: measured, 0..1; where it is not measured, the probability.
        patches: indices into `PATCHES` of the patches that show it; empty for the photo as a whole.
        probability: that this is why the photo fails, by the model's reason head; None for a model without one.
    """

    kind: FindingKind
    level: FindingLevel
    strength: float
    patches: tuple[int, ...] = ()
    probability: float | None = None


@dataclass(frozen=True, slots=True)
class PhotoScore:
    """The prediction of the network for one photo.

    Attributes:
        cumulative: P(votes >= 1) ... P(votes >= K), each in [0, 1], never increasing.
        patch_scores: P(votes >= good_votes) of each patch, in the order of `PATCHES`.
        score: P(votes >= good_votes) of the photo: the pooled patches.
        grade: the predicted number of votes, 0..K: the count of cumulative probabilities above 0.5.
        reasons: what each patch adds to the logit of each reason of the model's reason head; empty without one.
    """

    cumulative: tuple[float, ...]
    patch_scores: tuple[float, ...]
    score: float
    grade: int
    reasons: tuple[tuple[float, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class PhotoFacts:
    """Facts about a decoded photo.

    Attributes:
        sha256: hash of the bytes.
        width, height: pixels, upright.
        media_type: detected from the bytes.
        n_frames: images in the file.
        frame: index of the scored image, from 0.
    """

    sha256: str
    width: int
    height: int
    media_type: str
    n_frames: int = 1
    frame: int = 0


@dataclass(frozen=True, slots=True)
class Scored:
    """The assessment of an attachment that was scored."""

    id: AttachmentId
    facts: PhotoFacts
    score: PhotoScore
    acceptable: bool
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class NotAssessable:
    """The assessment of an attachment that cannot be scored. It is recorded with its code and goes to staff."""

    id: AttachmentId
    code: ErrorCode
    sha256: str | None = None
    media_type: str | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """The assessment of an attachment that failed this time. It is retried alone until its attempts are used up."""

    id: AttachmentId
    code: ErrorCode


@dataclass(frozen=True, slots=True)
class Unreadable:
    """The assessment of an attachment whose storage did not provide its bytes. It is retried; no attempt is used up."""

    id: AttachmentId
    code: ErrorCode = ErrorCode.FETCH_FAILED


Assessment: TypeAlias = Scored | NotAssessable | Failed | Unreadable


@dataclass(frozen=True, slots=True)
class AssessedBatch:
    """Assessments by one model at its threshold.

    Attributes:
        network_seconds: time inside the network.
        shadows: assessments of the same photos by shadow models; they decide nothing.
    """

    model_version_id: ModelVersionId
    threshold: float
    assessments: Sequence[Assessment]
    network_seconds: float = 0.0
    shadows: Sequence["AssessedBatch"] = ()
