"""The scoring side of a process: torch, the models in use and the drain. Imported only where photos are scored."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import structlog

from triage.domain.ids import ModelVersionId
from triage.errors import NoLiveModelError
from triage.imaging.decode import Decoder
from triage.model.engines.choose import choose_device
from triage.model.engines.engine import Engine
from triage.model.scorer import Scorer
from triage.scoring.assessor import PhotoAssessor, ScoringModel
from triage.scoring.drain import Drained, DrainLimits, drain
from triage.scoring.rescoring import Rescoring
from triage.storage import migrate
from triage.storage import model_versions as models
from triage.storage.model_versions import RegisteredModel
from worker.inference import load_engine
from worker.metrics import BATCH_FILL, MODEL_LOADED, PHOTOS, timed
from worker.services import Services

log = structlog.get_logger(__name__)


class Scoring:
    """Keeps the models in use: the live one, those in the shadow, and one that rescores."""

    def __init__(self, services: Services) -> None:
        self._services = services
        settings = services.settings
        device = choose_device(settings.scorer.device, settings.scorer.engine)
        self._photos_per_batch = settings.scorer.photos_per_batch or (4 if device.type == "cpu" else 64)
        self._threads = ThreadPoolExecutor(settings.scorer.decode_threads, thread_name_prefix="decode")
        self._decoder = Decoder(settings.image_limits, processes=settings.scorer.decode_threads)
        self._engines: dict[ModelVersionId, Engine] = {}
        self._rescores_with: ModelVersionId | None = None
        self._rescoring = Rescoring(
            services.sessions,
            self.assessor_of,
            photos_per_batch=self._photos_per_batch,
            lease=settings.lease,
            policy=settings.retake_policy,
        )

    def close(self) -> None:
        """Ends the threads and processes that decode."""
        self._threads.shutdown()
        self._decoder.close()

    def drain(self) -> Drained:
        """Works off the inbox, then rescoring, for one bounded time.

        Raises:
            ModelError: there is no live model, or it cannot be loaded.
        """
        drained = drain(
            self._services.inbox,
            self.live_assessor,
            DrainLimits(self._photos_per_batch, self._services.settings.inbox.drain_seconds),
            background=self._rescoring,
            on_batch=self._on_batch,
        )
        for outcome in ("scored", "not_assessable", "failed", "stale"):
            PHOTOS.labels(outcome).inc(getattr(drained.recorded, outcome))
        return drained

    def _on_batch(self, photos: int) -> None:
        BATCH_FILL.observe(photos / self._photos_per_batch)
        if photos == self._photos_per_batch:
            self._services.wake_ups.inbox()  # more photos may wait than this worker can score

    def live_assessor(self) -> PhotoAssessor:
        """The assessor of the model that is live right now, with those in the shadow.

        Raises:
            NoLiveModelError: no model is live.
            ModelError: the live model cannot be loaded.
            TablesOutdatedError: what is scored could not be recorded.
        """
        with self._services.sessions() as session:
            migrate.check_not_behind(session)  # what cannot be recorded is not claimed
            model = models.live(session)
            shadows = models.shadows(session)
        if model is None:
            raise NoLiveModelError("no model is live: add a model and promote it")
        in_use = {model.id, self._rescores_with, *(shadow.id for shadow in shadows)}
        self._engines = {id_: engine for id_, engine in self._engines.items() if id_ in in_use}
        return self._assessor(self._scoring_model(model), shadows=self._in_shadow(shadows))

    def assessor_of(self, model_version_id: ModelVersionId) -> PhotoAssessor:
        """The assessor of any registered model.

        Raises:
            ModelError: it cannot be loaded.
        """
        self._rescores_with = model_version_id
        with self._services.sessions() as session:
            return self._assessor(self._scoring_model(models.get(session, model_version_id)))

    def _assessor(self, model: ScoringModel, *, shadows: Sequence[ScoringModel] = ()) -> PhotoAssessor:
        return PhotoAssessor(
            model,
            source=self._services.source,
            decoder=self._decoder,
            threads=self._threads,
            shadows=shadows,
            timed=timed,
        )

    def _scoring_model(self, model: RegisteredModel) -> ScoringModel:
        """By the card as it is now: thresholds may be fitted while a model is in use."""
        margin = self._services.settings.retakes.uncertain_margin
        scorer = Scorer.of(model.card, self._engine(model), uncertain_margin=margin)
        return ScoringModel(model.id, model.card.threshold, scorer)

    def _engine(self, model: RegisteredModel) -> Engine:
        if model.id not in self._engines:
            weights = self._services.registry.weights(model.card)
            engine = load_engine(self._services.settings, model.card, weights)
            self._engines[model.id] = engine
            MODEL_LOADED.labels(model.card.name, engine.name).set(1)
            log.info("model.loaded", model_version=str(model.id), kind=engine.name, device=str(engine.device))
        return self._engines[model.id]

    def _in_shadow(self, shadows: Sequence[RegisteredModel]) -> list[ScoringModel]:
        """A model in the shadow that cannot be loaded is left out: nothing depends on it."""
        loaded = []
        for model in shadows:
            try:
                loaded.append(self._scoring_model(model))
            except Exception as error:  # whatever is wrong with it, nothing depends on a shadow
                log.warning("shadow.unavailable", model_version=str(model.id), error_type=type(error).__name__)
        return loaded
