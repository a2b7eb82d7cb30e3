"""Signed task messages, for deployments in which Redis is not trusted.

A signature covers the body, so each sender states there the task, the id and the time for which it holds. The headers
must agree, a message has a maximum age, and a worker runs each id once. All other headers have no effect.
"""

import base64
import math
import time
from typing import TYPE_CHECKING, Any, Final

from celery import Celery
from celery.exceptions import SecurityError
from redis import Redis

from triage.errors import UsageError
from worker.broker.envelope import decode
from worker.settings import Settings

if TYPE_CHECKING:
    from worker.broker.seal import Seal

_CLOCK_TOLERANCE_SECONDS: Final = 300.0
"""How far a sender's clock may be ahead."""


def sign_messages(app: Celery, settings: Settings) -> None:
    """Makes an app sign the tasks it sends and reject messages without a trusted signature, if the settings say so.

    Results are not signed.

    Raises:
        UsageError: a file cannot be read, or the extra `signing` is not installed.
    """
    signing = settings.signing
    if signing.key_file is None or signing.certificate_file is None or signing.trusted_folder is None:
        return
    try:
        from worker.broker.seal import Seal  # deferred: imports cryptography, of an extra

        seal = Seal(signing.key_file, signing.certificate_file, signing.trusted_folder)
    except Exception as error:  # of Celery, cryptography or the file system
        raise UsageError(
            "cannot sign tasks: check the files of TRIAGE_SIGNING__KEY_FILE, TRIAGE_SIGNING__CERTIFICATE_FILE and "
            "TRIAGE_SIGNING__TRUSTED_FOLDER, and install the package cryptography"
        ) from error
    seal.register()
    app.conf.update(task_serializer="auth", accept_content=["auth"])
    app.conf.broker_transport_options["signatures"] = Signatures(seal, max_age_seconds=signing.max_age_seconds)


def state_task(options: dict[str, Any], *, task: str, task_id: str) -> None:
    """Adds to the options of a task's body for which task, id and time its signature holds."""
    options["signed"] = {"task": task, "id": task_id, "at": time.time()}


def is_replay(redis: Redis, settings: Settings, task_id: str) -> bool:
    """Whether a signed message with this id was run before; notes the id. Only one caller gets False.

    Raises:
        RedisError: Redis is unavailable.
    """
    key = f"{settings.redis.key_prefix}signed:{task_id}"
    # twice as long as a message is accepted, because it may wait in a busy worker after it was checked
    kept_ms = math.ceil(2000 * (settings.signing.max_age_seconds + _CLOCK_TOLERANCE_SECONDS))
    return not redis.set(key, 1, nx=True, px=kept_ms)


class Signatures:
    """Checks the signatures of received messages."""

    def __init__(self, seal: "Seal", *, max_age_seconds: float) -> None:
        self._seal = seal
        self._max_age_seconds = max_age_seconds

    def problem(self, message: dict[str, Any]) -> str | None:
        """Says why a message must not be delivered.

        Args:
            message: with headers, a body in base64 and a content type, as kombu puts it into Redis.

        Returns:
            None if a trusted sender signed the message for this task and id, not too long ago; otherwise `unsigned`,
            `bad_signature`, `forged_headers` or `expired`. Remote control commands and replies state no task.

        Raises:
            RejectedMessageError: the signed bytes are not JSON, or exceed a limit.
        """
        if message["content-type"] != "application/data":
            return "unsigned"
        try:
            envelope = self._seal.open(base64.b64decode(message["body"], validate=True))
        except (SecurityError, ValueError):
            return "bad_signature"
        signed = decode(envelope)
        headers = message["headers"]
        return self._problem_of_task(signed, headers["task"], headers["id"]) if "task" in headers else None

    def _problem_of_task(self, signed: object, task: str, task_id: str) -> str | None:
        match signed:
            case [
                list(),
                dict(),
                {"signed": {"task": str(), "id": str(), "at": int() | float()} as statement, **options},
            ]:
                is_bound = (statement["task"], statement["id"]) == (task, task_id)
            case _:
                return "forged_headers"
        if not is_bound or any(value is not None for value in options.values()):  # callbacks and chains are tasks too
            return "forged_headers"
        age = time.time() - statement["at"]
        return None if -_CLOCK_TOLERANCE_SECONDS <= age <= self._max_age_seconds else "expired"
