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
    PhotoScore,
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


class PhotoAssessor:
    """Assesses attachments with one model. One caller at a time; the threads of `decoders` fetch and decode."""

    def __init__(
        self,
        *,
        model_version_id: ModelVersionId,
        threshold: float,
        scorer: Scorer,
        source: PhotoSource,
        limits: ImageLimits,
        decoders: ThreadPoolExecutor,
    ) -> None:
        self._model_version_id = model_version_id
        self._threshold = threshold
        self._scorer = scorer
        self._source = source
        self._limits = limits
        self._decoders = decoders

    def assess(self, attachments: Sequence[ClaimedAttachment]) -> AssessedBatch:
        """As `triage.ports.Assessor`.

        Raises:
            ModelError: the scorer itself is broken; no photo is to blame.
        """
        prepared = list(self._decoders.map(self._prepare, attachments))
        ready = [item for item in prepared if isinstance(item, _Ready)]
        assessments: list[Assessment] = [item for item in prepared if not isinstance(item, _Ready)]
        started = time.perf_counter()
        scores = map_or_bisect(self._scorer.score, [item.photo for item in ready])
        network_seconds = time.perf_counter() - started
        assessments += [self._judge(item, score) for item, score in zip(ready, scores, strict=True)]
        return AssessedBatch(self._model_version_id, self._threshold, assessments, network_seconds)

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

    def _judge(self, item: _Ready, score: PhotoScore | None) -> Assessment:
        if score is None:
            return Failed(item.id, ErrorCode.SCORING_FAILED)
        return Scored(item.id, item.facts, score, acceptable=score.score >= self._threshold)


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
