"""The base class of all tasks: it gives them the services of their process and handles unavailable services."""

from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

import structlog
from celery import Celery, Task
from celery.exceptions import Ignore
from redis.exceptions import RedisError

from triage.errors import ServiceUnavailableError
from triage.storage.database import database_errors
from worker.broker.progress import record_progress
from worker.broker.signing import is_replay
from worker.documents.submission import RejectionDocument
from worker.services import Services

if TYPE_CHECKING:
    from worker.scoring import Scoring

log = structlog.get_logger(__name__)


class WorkerServices(Services):
    """The services of a worker process. Each is made on first use, which is after the fork."""

    @cached_property
    def scoring(self) -> "Scoring":
        from worker.scoring import Scoring  # deferred: imports torch

        scoring = Scoring(
            self.settings,
            self.sessions,
            self.registry,
            self.inbox,
            self.source,
            self.photo_store,
            wake_another=self.wake_ups.inbox,
        )
        self._stack.callback(scoring.close)
        return scoring


@cache
def services_of(app: Celery) -> WorkerServices:
    """Returns the services that all tasks of an app share in this process. They are open until the process exits."""
    return WorkerServices(app.settings, celery=app)


class WorkerTask(Task):  # type: ignore[misc]  # Celery has no type hints
    """A task with services. If a service is unavailable, logs a warning and ends: the next sweep tries again."""

    Request = "worker.broker.guarded_worker:GuardedRequest"

    @property
    def services(self) -> WorkerServices:
        return services_of(self.app)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        record_progress()
        self._refuse_replay()
        try:
            with database_errors():
                return super().__call__(*args, **kwargs)
        except ServiceUnavailableError as error:
            log.warning("service.unavailable", task=self.name, error_type=type(error).__name__)
            return None
        finally:
            record_progress()

    def answer_if_lost(self) -> dict[str, Any]:
        """The answer to a sender whose task was not completed, because its process was killed."""
        return RejectionDocument.of(
            ServiceUnavailableError("the process that ran the task was killed, so the outcome is unknown: retry")
        ).json_types()

    def _refuse_replay(self) -> None:
        """
        Raises:
            Ignore: a signed message with this id was run before, or Redis is unavailable. No result is stored.
        """
        services = self.services
        if not services.settings.signing.is_on or self.request.called_directly:
            return
        try:
            if not is_replay(services.redis, services.settings, self.request.id):
                return
            log.warning("task.refused", kind="replayed")
        except RedisError as error:
            log.warning("redis.unavailable", error_type=type(error).__name__, task=self.name)
        raise Ignore
