"""The scoring side of a worker: the models in use and the drain. Imports torch."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Lock

import structlog
from sqlalchemy.orm import Session

from triage.blobs.source import PhotoSource
from triage.domain.card import RegisteredModel
from triage.domain.ids import ModelVersionId
from triage.domain.messages import Recorded
from triage.errors import DeviceError, NoLiveModelError
from triage.imaging.decode import Decoder
from triage.model.engines.choose import choose_device, describe_device
from triage.model.engines.device_thread import DeviceThread
from triage.model.engines.engine import Engine
from triage.model.scorer import Scorer
from triage.photo_store import PhotoStore
from triage.registry import Registry
from triage.scoring.assessments import Assessments
from triage.scoring.assessor import PhotoAssessor, ScoringModel
from triage.scoring.drain import Drained, DrainLimits, drain
from triage.scoring.inbox import Inbox
from triage.scoring.lane import AssessmentLane
from triage.scoring.rescoring import Rescoring
from triage.storage import migrate
from triage.storage import model_versions as models
from triage.storage.database import Sessions
from worker.broker.losses import record_success
from worker.broker.progress import record_progress
from worker.cores import count_cores
from worker.inference import load_engine
from worker.metrics import BATCH_FILL, MODEL_LOADED, PHOTOS, timed
from worker.settings import Settings

log = structlog.get_logger(__name__)


class Scoring:
    """Scores photos with the live model, the shadow models and the model of a rescoring run, which it keeps loaded."""

    def __init__(
        self,
        settings: Settings,
        sessions: Sessions,
        registry: Registry,
        inbox: Inbox,
        source: PhotoSource,
        store: PhotoStore,
        assessments: Assessments,
        *,
        wake_another: Callable[[], object],
    ) -> None:
        """
        Args:
            settings: of the scorer, leases and retakes.
            sessions: of the same database as `registry` and `inbox`.
            registry: holds the models' weights.
            inbox: the queue of photos.
            source: the bytes of the photos.
            store: the store of photos, checked before each drain.
            assessments: photos that overtake the inbox.
            wake_another: wakes a scoring worker; called when more photos may wait than this one can score.
        """
        self._settings = settings
        self._sessions = sessions
        self._registry = registry
        self._inbox = inbox
        self._source = source
        self._store = store
        self._wake_another = wake_another
        device = choose_device(settings.scorer.device, settings.scorer.engine)
        is_cpu = device.type == "cpu"
        self._photos_per_batch = settings.scorer.photos_per_batch or (4 if is_cpu else 64)
        self._batches_ahead = settings.scorer.batches_ahead or (1 if is_cpu else 4)
        decode_threads = settings.scorer.decode_threads or (2 if is_cpu else count_cores())
        self._threads = ThreadPoolExecutor(decode_threads, thread_name_prefix="decode")
        self._assessments = assessments
        self._lane_threads = ThreadPoolExecutor(min(4, decode_threads), thread_name_prefix="lane")
        self._lane = AssessmentLane(assessments, self.lane_assessor, photos_per_batch=self._photos_per_batch)
        self._loading = Lock()
        self._decoder = Decoder(settings.image_limits, processes=decode_threads)
        self._device = DeviceThread()
        self._engines: dict[ModelVersionId, Engine] = {}
        self._rescores_with: ModelVersionId | None = None
        self._rescoring = Rescoring(
            sessions,
            self.assessor_of,
            photos_per_batch=self._photos_per_batch,
            lease=settings.lease,
            policy=settings.retake_policy,
        )

    def close(self) -> None:
        """Stops the threads and processes that decode and score photos."""
        self._device.close()
        self._threads.shutdown()
        self._lane_threads.shutdown()
        self._decoder.close()

    def drain(self) -> Drained:
        """Scores the inbox, then rescores, for at most the time that the settings allow.

        Raises:
            ModelError: there is no live model, or it cannot be loaded.
            BlobStoreUnavailableError: the store of photos is not the one of this database. Nothing was claimed.
        """
        self._store.check()
        return drain(
            self._inbox,
            self.live_assessor,
            DrainLimits(self._photos_per_batch, self._settings.inbox.drain_seconds, self._batches_ahead),
            lane=self._lane,
            background=self._rescoring,
            on_batch=self._on_batch,
            on_recorded=_count_photos,
            timed=_timed,
        )

    def live_assessor(self) -> PhotoAssessor:
        """Returns the assessor of the model that is live now, with the shadow models.

        Raises:
            ModelError: there is no live model, or it cannot be loaded.
            TablesOutdatedError: the results could not be recorded.
        """
        with self._sessions() as session:
            migrate.check_not_behind(session)  # before any claim: a worker never claims what it cannot record
            model = _live(session)
            shadows = models.shadows(session)
        in_use = {model.id, self._rescores_with, *(shadow.id for shadow in shadows)}
        with self._loading:
            self._engines = {id_: engine for id_, engine in self._engines.items() if id_ in in_use}
            return self._assessor(self._scoring_model(model), shadows=self._shadow_models(shadows))

    def lane_assessor(self) -> PhotoAssessor:
        """Returns the assessor of the live model for photos of the lane, without shadow models.

        Its threads are not those of the inbox, so that no photo of the inbox is decoded before them.

        Raises:
            ModelError: as `live_assessor`.
        """
        with self._sessions() as session:
            model = _live(session)
        with self._loading:
            return PhotoAssessor(
                self._scoring_model(model),
                source=self._assessments,
                decoder=self._decoder,
                threads=self._lane_threads,
                timed=_timed,
            )

    def assessor_of(self, model_version_id: ModelVersionId) -> PhotoAssessor:
        """Returns the assessor of any registered model.

        Raises:
            ModelError: the model cannot be loaded.
        """
        self._rescores_with = model_version_id
        with self._sessions() as session:
            model = models.get(session, model_version_id)
        with self._loading:
            return self._assessor(self._scoring_model(model))

    def _on_batch(self, photos: int) -> None:
        BATCH_FILL.observe(photos / self._photos_per_batch)
        if photos == self._photos_per_batch:
            self._wake_another()

    def _assessor(self, model: ScoringModel, *, shadows: Sequence[ScoringModel] = ()) -> PhotoAssessor:
        return PhotoAssessor(
            model,
            source=self._source,
            decoder=self._decoder,
            threads=self._threads,
            shadows=shadows,
            timed=_timed,
        )

    def _scoring_model(self, model: RegisteredModel) -> ScoringModel:
        """Uses the current card, because thresholds can change while a model is loaded."""
        margin = self._settings.retakes.uncertain_margin
        scorer = Scorer.of(model.card, self._engine(model), uncertain_margin=margin)
        return ScoringModel(model.id, model.card.threshold, scorer)

    def _engine(self, model: RegisteredModel) -> Engine:
        if model.id not in self._engines:
            weights = self._registry.weights(model.card)
            engine = self._device.load(load_engine, self._settings, model.card, weights)
            self._engines[model.id] = engine
            device = describe_device(engine.device)
            MODEL_LOADED.labels(model.card.name, engine.name, device).set(1)
            log.info("model.loaded", model_version=str(model.id), kind=engine.name, device=device)
        return self._engines[model.id]

    def _shadow_models(self, shadows: Sequence[RegisteredModel]) -> list[ScoringModel]:
        """Leaves out a shadow model that cannot be loaded: it must not stop the live model."""
        loaded = []
        for model in shadows:
            try:
                loaded.append(self._scoring_model(model))
            except DeviceError:
                raise  # the live model has the same device
            except Exception as error:  # any other failure of a shadow model is harmless
                log.warning("shadow.unavailable", model_version=str(model.id), error_type=type(error).__name__)
        return loaded


def _live(session: Session) -> RegisteredModel:
    model = models.live(session)
    if model is None:
        raise NoLiveModelError("no model is live: add a model and promote it")
    return model


@contextmanager
def _timed(stage: str) -> Iterator[None]:
    """Measures a stage, and records its start and end as progress of this worker."""
    record_progress()
    with timed(stage):
        yield
    record_progress()


def _count_photos(recorded: Recorded) -> None:
    for outcome in ("scored", "not_assessable", "failed", "stale"):
        PHOTOS.labels(outcome).inc(getattr(recorded, outcome))
    if recorded.scored:
        record_success()
