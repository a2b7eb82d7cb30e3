"""The base class of all tasks: it gives them the services of their process and handles unavailable services."""

import os
from collections.abc import Callable
from functools import cache, cached_property, wraps
from typing import TYPE_CHECKING, Any, Final

import structlog
from celery import Celery, Task, shared_task
from celery.exceptions import Ignore
from redis.exceptions import RedisError

from triage.errors import DeviceLostError, ServiceUnavailableError, TriageError
from triage.storage.database import database_errors
from worker.broker.faults import log_unavailable
from worker.broker.losses import record_loss
from worker.broker.progress import record_progress
from worker.broker.signing import is_replay
from worker.documents.document import Document
from worker.documents.rejection import RejectionDocument
from worker.queues import TaskName
from worker.services import Services

if TYPE_CHECKING:
    from worker.scoring import Scoring

log = structlog.get_logger(__name__)

EX_SOFTWARE: Final = 70
"""The exit code of a process that can no longer use its device."""


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
            self.assessments,
            wake_another=self.wake_ups.inbox,
        )
        self._stack.callback(scoring.close)
        return scoring


@cache
def services_of(app: Celery) -> WorkerServices:
    """Returns the services that all tasks of an app share in this process. They are open until the process exits."""
    return WorkerServices(app.settings, celery=app)


class WorkerTask(Task):  # type: ignore[misc]  # Celery has no type hints
    """A task with services. If a service is unavailable, logs a warning and ends: the next sweep tries again.

    If the device is lost, the process ends.
    """

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
        except DeviceLostError:
            log.error("device.lost", task=self.name)
            self._end_child()
            raise
        except ServiceUnavailableError as error:
            log.warning("service.unavailable", task=self.name, error_type=type(error).__name__, kind=error.kind)
            return None
        finally:
            record_progress()

    def _end_child(self) -> None:
        """Ends this process, so that the worker starts another: no later call of this one could use the device."""
        if not (self.request.called_directly or self.request.is_eager):
            record_loss()
            os._exit(EX_SOFTWARE)

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
            log_unavailable(error, task=self.name)
        raise Ignore


Answer = Callable[[WorkerTask, object], Document]


def sender_task(name: TaskName) -> Callable[[Answer], Any]:
    """Declares a task that a sender calls with one document, and that always answers with one.

    An error of this product is answered with a `RejectionDocument`.
    """

    def declare(answer: Answer) -> Any:
        @wraps(answer)
        def run(task: WorkerTask, document: object) -> dict[str, Any]:
            try:
                with database_errors():
                    return answer(task, document).json_types()
            except TriageError as error:
                log.warning("document.refused", task=name, error_type=type(error).__name__)
                return RejectionDocument.of(error).json_types()

        return shared_task(run, name=name, base=WorkerTask, bind=True, ignore_result=False)

    return declare
