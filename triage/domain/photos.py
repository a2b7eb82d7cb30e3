"""Photos: patches, scores, findings and the assessment of one photo or a batch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from triage.domain.ids import AttachmentId, ModelVersionId
from triage.domain.states import FindingKind, FindingLevel
from triage.errors import ErrorCode

PATCHES = ("top_left", "top_right", "bottom_left", "bottom_right", "centre")
"""The five regions of a photo, each half of its height and width, in the order of every list of patches."""


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
