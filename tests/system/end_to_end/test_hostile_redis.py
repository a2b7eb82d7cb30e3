"""A hostile client of Redis overwrites keys, floods queues, cuts connections and deletes everything: work goes on."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeAlias
from uuid import uuid4

import pytest
from celery.exceptions import TimeoutError as CeleryTimeoutError
from kombu.exceptions import OperationalError
from redis import Redis
from redis.exceptions import RedisError

from tests.support.certificates import make_certificate
from tests.support.deployment import Deployment, eventually, signing_variables
from tests.support.forged_messages import SUBMISSION
from triage.errors import TriageError
from worker.doctor.problems import ProblemError
from worker.doctor.services import check_redis
from worker.doctor.workers import check_progress
from worker.queues import QueueName, TaskName
from worker.services import Services
from worker.settings import SigningSettings

pytestmark = pytest.mark.long

Deploy: TypeAlias = Callable[..., AbstractContextManager[Deployment]]

JUNK = (b"", b"\xff\xfe", b"{}", b"[" * 100_000, b"x" * 2_000_000)


@dataclass
class Victim:
    """Two workers, and the Redis of this test run."""

    clinic: Deployment

    @property
    def sender(self) -> Services:
        return self.clinic.services

    @property
    def redis(self) -> Redis:
        return self.sender.redis

    @property
    def prefix(self) -> str:
        return self.sender.settings.redis.key_prefix

    def put(self, kind: str, *names: str) -> None:
        """Replaces keys by values of another type."""
        writers: dict[str, Callable[[str], object]] = {
            "string": lambda key: self.redis.set(key, b"\xff"),
            "hash": lambda key: self.redis.hset(key, "a", "b"),
        }
        for name in names:
            self.redis.delete(f"{self.prefix}{name}")
            writers[kind](f"{self.prefix}{name}")

    def cut_connections(self) -> None:
        for _ in range(20):
            for kind in ("normal", "pubsub"):
                self.redis.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")  # type: ignore[no-untyped-call]
            time.sleep(0.1)

    def publish_junk(self) -> None:
        for channel in ("/0.celery.pidbox", "/0.reply.celery.pidbox", "/0.celeryev/worker.heartbeat", "/0.nobody"):
            for junk in JUNK:
                self.redis.publish(f"{self.prefix}{channel}", junk)

    def fill_queues(self) -> None:
        for queue in (QueueName.INBOX, QueueName.INTAKE, QueueName.MAINTENANCE):
            for junk in (*JUNK * 20, b"x" * 50_000_000):
                self.redis.lpush(f"{self.prefix}{queue}", junk)

    def pretend_lost_workers(self) -> None:
        for number, junk in enumerate(JUNK):
            self.redis.hset(f"{self.prefix}unacked", f"t-{number}", junk)
            self.redis.zadd(f"{self.prefix}unacked_index", {f"t-{number}": number})

    def delete_everything_while_photos_are_scored(self) -> None:
        eventually(lambda: not self.clinic.query("SELECT FROM attachment WHERE status = 'pending'"))  # or just scored
        self.redis.flushall()


_BINDINGS = [f"_kombu.binding.{name}" for name in (*QueueName, "celery.pidbox", "reply.celery.pidbox")]
ATTACKS: dict[str, Callable[[Victim], None]] = {
    "strings in place of queues": lambda victim: victim.put("string", *QueueName),
    "hashes in place of queues": lambda victim: victim.put("hash", *QueueName, "inbox\x06\x163"),
    "hashes in place of bindings": lambda victim: victim.put("hash", *_BINDINGS, "_kombu.binding_deadlines"),
    "strings in place of received messages": lambda victim: victim.put("string", "unacked", "unacked_index"),
    "hashes in place of the product's keys": lambda victim: victim.put(
        "hash", "wake-up:inbox.drain", "heartbeat:beat", "heartbeat:intake", "worker:scoring", "unacked_mutex"
    ),
    "wake-ups locked for good": lambda victim: victim.put("string", "wake-up:inbox.drain"),
    "malformed messages of lost workers": Victim.pretend_lost_workers,
    "junk to all who listen": Victim.publish_junk,
    "junk in all queues": Victim.fill_queues,
    "connections cut": Victim.cut_connections,
    "everything deleted": Victim.delete_everything_while_photos_are_scored,
}


@pytest.fixture(scope="module", params=["without signatures", "with signatures"])
def victim(
    request: pytest.FixtureRequest, deploy_for_module: Deploy, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Victim]:
    signing = SigningSettings()
    if request.param == "with signatures":
        trusted = tmp_path_factory.mktemp("trusted")
        certificate, key = make_certificate(trusted, "triage")
        signing = SigningSettings(key_file=key, certificate_file=certificate, trusted_folder=trusted)
    with deploy_for_module("scoring", "intake", variables=signing_variables(signing), signing=signing) as clinic:
        eventually(lambda: len(clinic.services.celery.control.ping(timeout=2.0)) == 2)
        yield Victim(clinic)


@pytest.mark.parametrize("name", ATTACKS)
def test_workers_continue_after_an_attack_on_redis(victim: Victim, jpeg: Callable[..., bytes], name: str) -> None:
    clinic, submission = victim.clinic, SUBMISSION | {"message_id": f"submitted-{uuid4()}"}
    pids = {kind: worker.pid for kind, worker in clinic.workers.items()}
    messages = [f"m-{uuid4()}" for _ in range(4)]
    clinic.send(messages[0], jpeg(1), jpeg(2))

    ATTACKS[name](victim)

    for message in messages[1:]:
        clinic.send(message, jpeg(1))
    for message in messages:
        assert eventually(lambda: clinic.outcome(message)) == "retake"  # noqa: B023
    assert _submitted(victim, submission)["created"]
    assert clinic.query("SELECT FROM verdict GROUP BY attachment_id HAVING count(*) > 1") == []
    assert "version" in eventually(lambda: _redis_state(victim))
    assert eventually(lambda: _progress(victim)) == "no part has stalled"
    assert len(eventually(lambda: _pings(victim))) == 2
    for kind, worker in clinic.workers.items():
        assert (worker.poll(), worker.pid) == (None, pids[kind])
        assert not _said(clinic, kind) & {"delivery.failed", "work.stalled", "Unrecoverable error: %r"}


def _submitted(victim: Victim, submission: dict[str, Any]) -> dict[str, Any]:
    """Submits as the documentation tells senders to: again if no answer arrives in time."""

    def submit() -> Any:
        with suppress(OperationalError, CeleryTimeoutError, RedisError):
            return victim.sender.celery.send_task(TaskName.SUBMIT, [submission]).get(timeout=10)
        return None

    answer: dict[str, Any] = eventually(submit)
    return answer


def _redis_state(victim: Victim) -> str:
    with suppress(ProblemError):  # until a worker has repaired the keys
        return check_redis(victim.redis, victim.prefix)
    return ""


def _progress(victim: Victim) -> str:
    with suppress(TriageError):
        return check_progress(victim.sender, stalled_after=timedelta(seconds=15))
    return ""


def _pings(victim: Victim) -> list[Any]:
    with suppress(OperationalError, RedisError):
        answers: list[Any] = victim.sender.celery.control.ping(timeout=2.0)
        return answers if len(answers) == 2 else []
    return []


def _said(clinic: Deployment, kind: str) -> set[str]:
    lines = clinic.log(kind).read_text(encoding="utf-8").splitlines()
    return {json.loads(line)["event"] for line in lines if line.startswith("{")}
