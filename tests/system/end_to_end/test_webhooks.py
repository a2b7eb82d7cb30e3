"""Real workers tell a real server of their decisions: signed, at least once, also if a sender is killed."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Final

import pytest
from sqlalchemy import text

from tests.support.deployment import Deployment, eventually
from tests.support.webhook_receiver import WebhookReceiver, webhook_receiver

pytestmark = pytest.mark.long


@pytest.fixture
def receiver() -> Iterator[WebhookReceiver]:
    with webhook_receiver() as receiver:
        yield receiver


@pytest.fixture
def deployed(
    deploy: Callable[..., AbstractContextManager[Deployment]], receiver: WebhookReceiver
) -> Iterator[Deployment]:
    with deploy("scoring", "intake", "delivery", **receiver.variables) as deployment:
        eventually(lambda: deployment.query("SELECT name FROM delivery_target"))
        yield deployment


def test_each_event_arrives_even_if_its_sender_is_killed_before_it_records_the_answer(
    deployed: Deployment, receiver: WebhookReceiver, jpeg: Callable[..., bytes]
) -> None:
    deployed.send("m-1", jpeg(1))
    eventually(lambda: _count(deployed, "delivered") == 2)
    assert {each["type"] for each in receiver.events} == {"message.decided", "retake.requested"}

    receiver.may_answer.clear()
    for number in range(2, 6):
        deployed.send(f"m-{number}", jpeg(number))
    eventually(lambda: len(receiver.events) > 2)
    _kill(deployed, "delivery")
    unanswered = set(receiver.seen()) - {str(row.id) for row in deployed.query(f"{_IDS} WHERE status = 'delivered'")}
    assert unanswered
    receiver.may_answer.set()
    eventually(lambda: _count(deployed, "pending") == 8)  # the decisions of all messages are made
    with deployed.services.sessions.begin() as session:
        session.execute(text("UPDATE delivery SET due_at = clock_timestamp()"))  # the lease ends, without the wait
    deployed.start("delivery")

    eventually(lambda: _count(deployed, "delivered") == 10)
    assert set(receiver.seen()) == {str(row.id) for row in deployed.query(_IDS)}
    assert {event for event, times in receiver.seen().items() if times == 2} >= unanswered
    for kind in ("message.decided", "retake.requested"):
        told = [each["data"]["message_id"] for each in receiver.events if each["type"] == kind]
        assert set(told) == {f"m-{number}" for number in range(1, 6)}


_IDS: Final = "SELECT id FROM delivery"


def _count(deployment: Deployment, status: str) -> int:
    return len(deployment.query(f"{_IDS} WHERE status = :status", status=status))


def _kill(deployment: Deployment, name: str) -> None:
    """Kills a worker and its child, without a chance to finish anything."""
    worker = deployment.workers[name]
    os.killpg(worker.pid, signal.SIGKILL)
    worker.wait()
