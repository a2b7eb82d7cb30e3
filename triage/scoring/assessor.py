"""Assesses photos with one model: fetch and decode in threads, score as one batch, bisect a batch that fails."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import structlog

from triage.blobs.source import PhotoSource
from triage.domain.ids import AttachmentId, ModelVersionId
from triage.domain.messages import ClaimedAttachment
from triage.domain.photos import AssessedBatch, Assessment, Failed, NotAssessable, Scored, Unreadable
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
from triage.imaging.decode import Decoder
from triage.imaging.formats import sniff
from triage.model.preparation import PreparedPhoto, prepare_photo
from triage.model.scorer import Scorer
from triage.timing import Timed, untimed

log = structlog.get_logger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class _Ready:
    id: AttachmentId
    prepared: PreparedPhoto


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
        source: PhotoSource,
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
        return partial(self._score, list(self._threads.map(self._prepare, attachments)))

    def _score(self, prepared: Sequence["_Ready | NotAssessable | Failed | Unreadable"]) -> AssessedBatch:
        ready = [item for item in prepared if isinstance(item, _Ready)]
        unready: list[Assessment] = [item for item in prepared if not isinstance(item, _Ready)]
        started = time.perf_counter()
        assessments = unready + _assess(self._model, ready)
        shadows = [AssessedBatch(s.model_version_id, s.threshold, _assess(s, ready)) for s in self._shadows]
        network_seconds = time.perf_counter() - started
        model = self._model
        return AssessedBatch(model.model_version_id, model.threshold, assessments, network_seconds, shadows)

    def _prepare(self, attachment: ClaimedAttachment) -> "_Ready | NotAssessable | Failed | Unreadable":
        data = None
        try:
            with self._timed("fetch"):
                data = self._source.fetch(attachment)
            # a photo that may have killed its worker is decoded apart: only the decoder dies, and the failure counts
            prepared = prepare_photo(
                data, self._decoder, self._timed, sha256=attachment.stored_sha256, apart=attachment.is_retry
            )
            return _Ready(attachment.id, prepared)
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


def _assess(model: ScoringModel, photos: Sequence[_Ready]) -> list[Assessment]:
    scores = map_or_bisect(model.scorer.score, [item.prepared.photo for item in photos], check=model.scorer.check)
    return [
        Failed(item.id, ErrorCode.SCORING_FAILED)
        if score is None
        else Scored(
            item.id,
            item.prepared.facts,
            score,
            acceptable=score.score >= model.threshold,
            findings=item.prepared.findings,
        )
        for item, score in zip(photos, scores, strict=True)
    ]


def _log_failure(error: Exception, photos: int) -> None:
    log.warning("photo.failed", photos=photos, error_type=type(error).__name__, where=where(error.__traceback__))


def map_or_bisect(
    function: Callable[[Sequence[Item]], list[Result]],
    items: Sequence[Item],
    *,
    check: Callable[[], object] = lambda: None,
) -> list[Result | None]:
    """Applies a batch function. A batch that raises is halved, until only the items that fail alone are left.

    Args:
        function: from items to one result each.
        items: in any number.
        check: called after each error; raises if the items are not at fault.

    Returns:
        One result per item, in order; None for an item that failed alone.

    Raises:
        ModelError: raised by the function; no item caused it.
        DeviceError: likewise, or raised by the check.
    """
    if not items:
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
