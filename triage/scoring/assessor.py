"""Assesses photos with one model: fetch and decode in threads, score as one batch, bisect a batch that fails."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias, TypeVar

import structlog
import torch
from torch import Tensor

from triage.blobs.source import Source
from triage.domain.ids import AttachmentId, ModelVersionId
from triage.domain.messages import ClaimedAttachment
from triage.domain.photos import (
    AssessedBatch,
    Assessment,
    Failed,
    NotAssessable,
    PhotoFacts,
    Scored,
    Unreadable,
)
from triage.errors import (
    AttachmentError,
    DeviceError,
    ErrorCode,
    ModelError,
    ServiceUnavailableError,
    StorageFaultError,
    TransientError,
    where,
)
from triage.files.hashing import sha256_of
from triage.findings.rules import Measured
from triage.imaging.decode import Decoder
from triage.imaging.formats import sniff
from triage.model.preparation import PreparedPhoto, prepare_photo
from triage.model.scorer import Scorer
from triage.timing import Timed, untimed

log = structlog.get_logger(__name__)

Items = TypeVar("Items", Tensor, Sequence[Any])
Result = TypeVar("Result")
_Prepared: TypeAlias = tuple[AttachmentId, PreparedPhoto]


@dataclass(frozen=True, slots=True)
class _Ready:
    id: AttachmentId
    facts: PhotoFacts
    measured: Measured


@dataclass(frozen=True, slots=True)
class _Batch:
    """
    Attributes:
        ready: the photos to score.
        photos: their pixels, uint8 (n, 3, 448, 448).
        unready: the outcomes of the other photos.
    """

    ready: Sequence[_Ready]
    photos: Tensor
    unready: Sequence[Assessment]


@dataclass(frozen=True, slots=True)
class ScoringModel:
    """A loaded model version: its scorer, and the threshold from which a photo is acceptable."""

    model_version_id: ModelVersionId
    threshold: float
    scorer: Scorer


class PhotoAssessor:
    """Assesses attachments with one model. `threads` fetch and decode; only one thread may score at a time."""

    def __init__(
        self,
        model: ScoringModel,
        *,
        source: Source,
        decoder: Decoder,
        threads: ThreadPoolExecutor,
        shadows: Sequence[ScoringModel] = (),
        timed: Timed = untimed,
    ) -> None:
        """
        Args:
            model: the model whose scores decide.
            shadows: models that score the same photos for comparison only.
            timed: measures the stages `fetch`, `decode` and `findings`.
        """
        self._model = model
        self._source = source
        self._decoder = decoder
        self._threads = threads
        self._shadows = shadows
        self._timed = timed

    def prepare(self, attachments: Sequence[ClaimedAttachment]) -> Callable[[], AssessedBatch]:
        """See `Assessor.prepare`. The returned call raises ModelError or DeviceError if the scorer is broken.

        Raises:
            BlobStoreUnavailableError: the whole store is unavailable, so no photo of the batch is at fault.
        """
        return partial(self._score, _gather(list(self._threads.map(self._prepare, attachments))))

    def _score(self, batch: _Batch) -> AssessedBatch:
        started = time.perf_counter()
        assessments = [*batch.unready, *_assess(self._model, batch)]
        shadows = [AssessedBatch(s.model_version_id, s.threshold, _assess(s, batch)) for s in self._shadows]
        network_seconds = time.perf_counter() - started
        model = self._model
        return AssessedBatch(model.model_version_id, model.threshold, assessments, network_seconds, shadows)

    def _prepare(self, attachment: ClaimedAttachment) -> _Prepared | NotAssessable | Failed | Unreadable:
        data = None
        try:
            with self._timed("fetch"):
                data = self._source.fetch(attachment)
            # a photo that may have killed its worker is decoded apart: only the decoder dies, and the failure counts
            prepared = prepare_photo(
                data, self._decoder, self._timed, sha256=attachment.stored_sha256, apart=attachment.is_retry
            )
            return attachment.id, prepared
        except AttachmentError as error:
            if data is None:
                return NotAssessable(attachment.id, error.code, attachment.sha256)
            return NotAssessable(attachment.id, error.code, sha256_of(data), sniff(data))
        except StorageFaultError:
            return Unreadable(attachment.id)
        except TransientError as error:
            return Failed(attachment.id, error.code)
        except ServiceUnavailableError:
            raise
        except Exception as error:  # for example out of memory: counts as an attempt of this photo
            _log_failure(error, 1)
            return Failed(attachment.id, ErrorCode.SCORING_FAILED)


def _gather(items: Sequence[_Prepared | NotAssessable | Failed | Unreadable]) -> _Batch:
    """Copies the pixels into one batch: here, because the thread that scores must not wait for it."""
    prepared = [item for item in items if isinstance(item, tuple)]
    photos = torch.stack([photo.photo for _, photo in prepared]) if prepared else torch.empty(0)
    ready = [_Ready(id_, photo.facts, photo.measured) for id_, photo in prepared]
    return _Batch(ready, photos, [item for item in items if not isinstance(item, tuple)])


def _assess(model: ScoringModel, batch: _Batch) -> list[Assessment]:
    scores = map_or_bisect(model.scorer.score, batch.photos, check=model.scorer.check)
    return [
        Failed(item.id, ErrorCode.SCORING_FAILED)
        if score is None
        else Scored(
            item.id,
            item.facts,
            score,
            acceptable=(acceptable := score.score >= model.threshold),
            findings=model.scorer.findings(score, item.measured, acceptable=acceptable),
        )
        for item, score in zip(batch.ready, scores, strict=True)
    ]


def _log_failure(error: Exception, photos: int) -> None:
    log.warning("photo.failed", photos=photos, error_type=type(error).__name__, where=where(error.__traceback__))


def map_or_bisect(
    function: Callable[[Items], list[Result]],
    items: Items,
    *,
    check: Callable[[], object] = lambda: None,
) -> list[Result | None]:
    """Applies a batch function. A batch that raises is halved, until only the items that fail alone are left.

    Args:
        function: from items to one result each.
        items: a sequence of any length, or a tensor with one item a row.
        check: called after each error; raises if the items are not at fault.

    Returns:
        One result per item, in order; None for an item that failed alone.

    Raises:
        ModelError: raised by the function; no item caused it.
        DeviceError: likewise, or raised by the check.
    """
    if not len(items):
        return []
    try:
        return list(function(items))
    except (ModelError, DeviceError):
        raise
    except Exception as error:  # an error of one photo must not cost another photo its verdict
        _log_failure(error, len(items))
        check()
        if len(items) == 1:
            return [None]
    middle = len(items) // 2
    first, second = (map_or_bisect(function, half, check=check) for half in (items[:middle], items[middle:]))
    return first + second
