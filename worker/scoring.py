"""The scoring side of a process: torch, the models in use and the drain. Imported only where photos are scored."""

from concurrent.futures import ThreadPoolExecutor

import structlog
import torch

from triage.assessor import PhotoAssessor
from triage.domain import ModelVersionId
from triage.errors import ModelError
from triage.pipeline import Drained, DrainLimits, drain
from triage.quality.scorer import Scorer, choose_device
from triage.quality.weights import load_network
from triage.rescoring import PostgresRescoring
from triage.storage import models
from triage.storage.models import RegisteredModel
from worker.bootstrap import Services

log = structlog.get_logger(__name__)


class Scoring:
    """Keeps the live model's assessor, and during a rescoring by another model that one's too."""

    def __init__(self, services: Services) -> None:
        self._services = services
        settings = services.settings
        if settings.scorer.threads is not None:
            torch.set_num_threads(settings.scorer.threads)
        self._device = choose_device(settings.scorer.device)
        self._photos_per_batch = settings.scorer.photos_per_batch or (4 if self._device.type == "cpu" else 64)
        self._decoders = ThreadPoolExecutor(settings.scorer.decode_threads, thread_name_prefix="decode")
        self._assessors: dict[ModelVersionId, PhotoAssessor] = {}
        self._rescoring = PostgresRescoring(
            services.sessions,
            self.assessor_of,
            photos_per_batch=self._photos_per_batch,
            lease=settings.lease,
            policy=settings.retake_policy,
        )

    def drain(self) -> Drained:
        """Works off the inbox, then rescoring, for one bounded time.

        Raises:
            ModelError: there is no live model, or it cannot be loaded.
        """
        return drain(
            self._services.inbox,
            self.live_assessor,
            DrainLimits(self._photos_per_batch, self._services.settings.inbox.drain_seconds),
            background=self._rescoring,
            on_full_batch=self._services.wake_ups.inbox,
        )

    def live_assessor(self) -> PhotoAssessor:
        """The assessor of the model that is live right now.

        Raises:
            ModelError: there is none, or it cannot be loaded.
        """
        with self._services.sessions() as session:
            model = models.live(session)
        if model is None:
            raise ModelError("no model is live: add and promote one with `triage models`")
        return self._assessor(model)

    def assessor_of(self, model_version_id: ModelVersionId) -> PhotoAssessor:
        """The assessor of any registered model.

        Raises:
            ModelError: it cannot be loaded.
        """
        with self._services.sessions() as session:
            return self._assessor(models.get(session, model_version_id))

    def _assessor(self, model: RegisteredModel) -> PhotoAssessor:
        if model.id not in self._assessors:
            network = load_network(model.card, self._services.registry.weights(model.card))
            if len(self._assessors) > 1:  # the live model and one that rescores; an older one makes room
                self._assessors.clear()
            self._assessors[model.id] = PhotoAssessor(
                model_version_id=model.id,
                threshold=model.card.threshold,
                scorer=Scorer(network, good_votes=model.card.good_votes, device=self._device),
                source=self._services.source,
                limits=self._services.settings.image_limits,
                decoders=self._decoders,
            )
            log.info("model.loaded", model_version=str(model.id), device=str(self._device))
        return self._assessors[model.id]
