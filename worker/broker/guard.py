"""Rejects invalid messages before they reach a worker, and ends a worker that cannot deliver a message.

A worker whose delivery failed half-way looks alive, answers `ping` and runs no task: only a restart helps.
"""

from contextlib import suppress
from typing import Any, Final

import structlog
from celery.app.amqp import AMQP
from kombu.connection import Connection
from kombu.transport import redis as kombu_redis
from kombu.transport import virtual
from kombu.transport.virtual import Empty
from redis.exceptions import ResponseError

from triage.errors import where
from worker.broker.envelope import SIGNED, RejectedMessageError, decode, rebuild
from worker.broker.progress import record_progress
from worker.broker.signing import Signatures, state_task

log = structlog.get_logger(__name__)

_ALLOWED_COMMANDS: Final = {"ping"}
_READ_SECONDS: Final = 1.0
"""Time for the rest of a message that has begun to arrive."""


class _QoS(kombu_redis.QoS):
    """The messages that this worker has received and whose tasks have not begun. Redis has a copy of each."""

    def ack(self, delivery_tag: Any) -> None:
        """Acknowledges a message here even if Redis refuses to delete the copy: the worker would receive no other."""
        with suppress(ResponseError):
            self._remove_from_indices(delivery_tag).execute()  # type: ignore[no-untyped-call]
        virtual.QoS.ack(self, delivery_tag)

    def restore_by_tag(self, tag: Any, client: Any = None, leftmost: bool = False) -> None:  # noqa: FBT001, FBT002
        """Returns a message of a lost worker to its queue, or drops it: kombu would try it again and again."""
        try:
            super().restore_by_tag(tag, client, leftmost)  # type: ignore[no-untyped-call]
        except self.channel.connection_errors:
            raise
        except Exception:
            _log_rejection(RejectedMessageError("malformed"))
            self._remove_from_indices(tag).execute()  # type: ignore[no-untyped-call]


class _Channel(kombu_redis.Channel):
    """Decodes messages within limits. Both methods follow kombu's, which decode without limits."""

    QoS = _QoS

    def _brpop_read(self, **options: Any) -> bool:
        connection = self.client.connection
        try:
            try:
                received = self.client.parse_response(connection, "BRPOP", **options)
            except self.connection_errors:
                connection.disconnect()  # the next read connects again
                raise
            if not received:
                raise Empty
            key, item = received
            queue = key.decode().rsplit(self.sep, 1)[0]
            self._queue_cycle.rotate(queue)
            if not self._decode_and_deliver(item, queue):
                record_progress()  # a queue of refused messages moves
            return True
        finally:
            self._in_poll: Any = None
            self._flush_brpop_reauth()  # type: ignore[no-untyped-call]

    def _receive_one(self, client: Any) -> bool:
        try:
            # kombu waits without limit, even if redis-py has connected again and nothing will arrive
            response = client.parse_response(block=False, timeout=_READ_SECONDS)
        except self.connection_errors:
            self._in_listen: Any = None
            raise
        if not isinstance(response, list | tuple):
            return False
        received = self._handle_message(client, response)  # type: ignore[no-untyped-call]
        if not received["type"].endswith(b"message") or not received["data"]:
            return False
        channel = received["channel"].decode()
        if channel.startswith("/"):  # the number of the database
            channel = channel.partition(".")[2]
        self._decode_and_deliver(received["data"], self._fanout_to_queue[channel.split("/", 1)[0]])
        return True

    def _decode_and_deliver(self, item: bytes, queue: str) -> bool:
        """Returns whether the message was delivered, not refused."""
        try:
            message = decode(item)
        except RejectedMessageError as error:
            _log_rejection(error)
            return False
        return bool(self.connection._deliver(message, queue))


class _Transport(kombu_redis.Transport):
    Channel = _Channel
    # a worker connects again after an error that Redis answers with, instead of ending
    connection_errors = (*kombu_redis.Transport.connection_errors, ResponseError)

    def _deliver(self, message: Any, queue: str) -> bool:
        """Delivers a message; returns False if it was refused."""
        try:
            rebuilt = rebuild(message, queue)
            self._check_signature(rebuilt)
        except RejectedMessageError as error:
            _log_rejection(error)
            return False
        try:
            super()._deliver(rebuilt, queue)  # type: ignore[no-untyped-call]
        except self.connection_errors:
            raise
        except Exception as error:
            fail_delivery(error)
        return True

    def _check_signature(self, message: dict[str, Any]) -> None:
        options = self.client.transport_options if self.client else {}
        signatures: Signatures | None = options.get("signatures")
        if signatures is None and message["content-type"] == SIGNED:
            raise RejectedMessageError("signed")  # this worker has no keys to open it
        if signatures and (problem := signatures.problem(message)):
            raise RejectedMessageError(problem)


class _GuardedConnection(Connection):
    """Uses the guarded transport for each Redis URL.

    Celery's setting `broker_transport` has the same effect, except for URLs of Unix sockets, which override it.
    """

    def get_transport_cls(self) -> type[_Transport]:
        return _Transport


class GuardedAMQP(AMQP):  # type: ignore[misc]  # Celery has no type hints
    """Makes all broker connections of a Celery app guarded. Pass it as `Celery(amqp=...)`."""

    Connection = _GuardedConnection

    def as_task_v2(self, task_id: str, name: str, *args: Any, **kwargs: Any) -> Any:
        """Creates a task message. With signing on, its signature holds for this task, this id and this time."""
        message = super().as_task_v2(task_id, name, *args, **kwargs)
        if self.app.settings.signing.is_on:
            state_task(message.body[2], task=name, task_id=task_id)
        return message


def restrict_remote_control() -> None:
    """Removes all remote control commands except `ping` from the worker of this process."""
    from celery.worker.control import Panel  # deferred: imports Celery's worker, which senders do not need

    for command in set(Panel.data) - _ALLOWED_COMMANDS:
        del Panel.data[command]


def fail_delivery(error: Exception) -> None:
    """Logs that a message could not be delivered, and ends this worker: the message may hold its only slot."""
    log.error("delivery.failed", error_type=type(error).__name__, where=where(error.__traceback__))
    end_worker()


def end_worker() -> None:
    """Makes this worker exit with a failure after the task that runs. Has no effect in a process of a sender."""
    from celery.platforms import EX_FAILURE
    from celery.worker import state  # deferred: imports Celery's worker, which senders do not need

    state.should_stop = EX_FAILURE  # the worker reads it before it waits for the next event


def _log_rejection(error: RejectedMessageError) -> None:
    log.warning("task.refused", kind=str(error))
