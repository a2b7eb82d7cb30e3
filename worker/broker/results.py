"""What Redis keeps of a task that failed: its exception's type alone, for its text may hold what a sender passed."""

from typing import Any, Final

from celery.backends.redis import RedisBackend

SCHEMES: Final = ("redis", "rediss")


class TypesOfErrors(RedisBackend):  # type: ignore[misc]  # Celery carries no types
    """Celery's own, without an exception's arguments and its traceback, which ends with its text."""

    def prepare_exception(self, exc: BaseException, *_: object, **__: object) -> dict[str, object]:
        """As JSON types."""
        kind = type(exc)
        return {"exc_type": kind.__qualname__, "exc_message": [], "exc_module": kind.__module__}

    def store_result(self, task_id: str, result: Any, state: str, *_: object, **more: Any) -> Any:
        """As Celery calls it, whose next argument is the traceback."""
        return super().store_result(task_id, result, state, **(more | {"traceback": None}))
