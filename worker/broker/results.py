"""Results in Redis: a failed task stores only the type of its exception, because the text may hold submitted data."""

from typing import Any, Final

from celery.backends.redis import RedisBackend

SCHEMES: Final = ("redis", "rediss")


class ErrorTypeBackend(RedisBackend):  # type: ignore[misc]  # Celery has no type hints
    """Celery's Redis backend without the arguments and the traceback of exceptions."""

    def prepare_exception(self, exc: BaseException, *_: object, **__: object) -> dict[str, object]:
        """The exception as JSON types."""
        kind = type(exc)
        return {"exc_type": kind.__qualname__, "exc_message": [], "exc_module": kind.__module__}

    def store_result(self, task_id: str, result: Any, state: str, *_: object, **more: Any) -> Any:
        """Stores a result without its traceback, which Celery passes as the next argument."""
        return super().store_result(task_id, result, state, **(more | {"traceback": None}))
