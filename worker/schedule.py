"""Beat's scheduler: Celery's own, which also says that it goes on."""

from typing import Any

from celery.beat import PersistentScheduler

from worker.process import services
from worker.pulse import Sign


class Scheduler(PersistentScheduler):  # type: ignore[misc]  # Celery carries no types
    """Gives a sign for each task that reached Redis, and none for one that did not."""

    def apply_async(self, *args: Any, **kwargs: Any) -> Any:
        result = super().apply_async(*args, **kwargs)
        services().pulse.give(Sign.BEAT)
        return result
