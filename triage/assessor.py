"""One model's assessor: fetch and decode in threads, score together, and find the one that fails by halving."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from triage.domain import (
    AssessedBatch,
    Assessment,
    AttachmentId,
    ClaimedAttachment,
    Failed,
    ModelVersionId,
    NotAssessable,
    PhotoFacts,
    Scored,
)
from triage.errors import AttachmentError, ErrorCode, ModelError, TransientError
from triage.imaging.decode import ImageLimits, decode_photo
from triage.quality.patches import resize_photo
from triage.quality.scorer import Scorer
from triage.storage.blobs import PhotoSource, sha256_of

if TYPE_CHECKING:
    from torch import Tensor

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class _Ready:
    id: AttachmentId
    facts: PhotoFacts
    photo: "Tensor"  # uint8 (3, 448, 448)


@dataclass(frozen=True, slots=True)
class Judge:
    """A model in use: its scorer, and the threshold from which a photo is acceptable."""

    model_version_id: ModelVersionId
    threshold: float
    scorer: Scorer


class PhotoAssessor:
    """Assesses attachments with one model. One caller at a time; the threads of `decoders` fetch and decode."""

    def __init__(
        self,
        judge: Judge,
        *,
        source: PhotoSource,
        limits: ImageLimits,
        decoders: ThreadPoolExecutor,
        shadows: Sequence[Judge] = (),
    ) -> None:
        """
        Args:
            judge: whose scores decide.
            shadows: models that score the same photos, for comparison alone.
        """
        self._judge = judge
        self._source = source
        self._limits = limits
        self._decoders = decoders
        self._shadows = shadows

    def assess(self, attachments: Sequence[ClaimedAttachment]) -> AssessedBatch:
        """As `triage.ports.Assessor`.

        Raises:
            ModelError: the scorer itself is broken; no photo is to blame.
        """
        prepared = list(self._decoders.map(self._prepare, attachments))
        ready = [item for item in prepared if isinstance(item, _Ready)]
        assessments: list[Assessment] = [item for item in prepared if not isinstance(item, _Ready)]
        started = time.perf_counter()
        assessments += _judge(self._judge, ready)
        shadows = [
            AssessedBatch(shadow.model_version_id, shadow.threshold, _judge(shadow, ready)) for shadow in self._shadows
        ]
        network_seconds = time.perf_counter() - started
        judge = self._judge
        return AssessedBatch(judge.model_version_id, judge.threshold, assessments, network_seconds, shadows)

    def _prepare(self, attachment: ClaimedAttachment) -> "_Ready | NotAssessable | Failed":
        sha256 = attachment.sha256
        try:
            data = self._source.fetch(attachment)
            sha256 = sha256_of(data)
            decoded = decode_photo(data, self._limits)
            facts = PhotoFacts(sha256, decoded.image.width, decoded.image.height)
            return _Ready(attachment.id, facts, resize_photo(decoded.image))
        except AttachmentError as error:
            return NotAssessable(attachment.id, error.code, sha256)
        except TransientError as error:
            return Failed(attachment.id, error.code)
        except MemoryError:
            return Failed(attachment.id, ErrorCode.SCORING_FAILED)


def _judge(judge: Judge, photos: Sequence[_Ready]) -> list[Assessment]:
    scores = map_or_bisect(judge.scorer.score, [item.photo for item in photos])
    return [
        Failed(item.id, ErrorCode.SCORING_FAILED)
        if score is None
        else Scored(item.id, item.facts, score, acceptable=score.score >= judge.threshold)
        for item, score in zip(photos, scores, strict=True)
    ]


def map_or_bisect(function: Callable[[Sequence[Item]], list[Result]], items: Sequence[Item]) -> list[Result | None]:
    """Applies a batch function; a batch that raises is halved until only the items that fail alone are left out.

    Returns:
        One result for each item, in order, None where the item failed alone.

    Raises:
        ModelError: passed on, as no item is to blame for it.
    """
    if not items:
        return []
    try:
        return list(function(items))
    except ModelError:
        raise
    except Exception:  # whatever one photo makes the network raise must not cost another photo its verdict
        if len(items) == 1:
            return [None]
    middle = len(items) // 2
    return map_or_bisect(function, items[:middle]) + map_or_bisect(function, items[middle:])
