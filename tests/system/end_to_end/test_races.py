"""Twenty threads act on the same messages at once: nothing is lost or doubled, and only retakes are handed out."""

import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Final

from sqlalchemy import text

from tests.support.clinic import Clinic
from tests.support.rescoring import OtherModel, rescore
from triage.blobs.store import BlobStore
from triage.domain.states import Outcome
from triage.errors import LeaseLostError, ServiceUnavailableError, UsageError
from triage.retakes import requests
from triage.retakes.override import override
from triage.retention.forget import forget
from triage.retention.purge import Retention
from triage.storage import outbox
from triage.storage.database import database_errors

THREADS: Final = 20
SECONDS: Final = 15
MESSAGES: Final = 6

UNJUSTIFIED: Final = """
    SELECT m.external_id, r.status FROM retake_request r
    JOIN message m ON m.id = r.message_id JOIN decision d ON d.id = m.current_decision_id
    WHERE r.status IN ('flagged', 'claimed')
    AND (d.outcome <> 'retake' OR m.opted_out OR m.forgotten_at IS NOT NULL)
"""


class Crowd:
    """What a sender, nurses, workers and an operator do, each call with random arguments."""

    def __init__(self, clinic: Clinic, other: OtherModel, retention: Retention, seed: int) -> None:
        self.clinic, self.other, self.retention, self.random = clinic, other, retention, random.Random(seed)
        self.handed_out: list[str] = []

    def run(self) -> list[str]:
        """Acts until the time is over; returns the messages that were handed out and should not have been."""
        actions = [self.send, self.send, self.opt_out, self.clinic.drain, self.claim, self.claim, self.decide]
        actions += [self.decide_forgotten, self.forget, self.purge, self.rescore, self.expire, self.sweep]
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            try:
                with database_errors():
                    self.random.choice(actions)()
            except (UsageError, LeaseLostError, ServiceUnavailableError):
                continue
        return self.handed_out

    def _message(self) -> str:
        return f"m-{self.random.randrange(MESSAGES)}"

    def send(self) -> None:
        photo = f"{self.random.randrange(30)}/{self.random.choice(['0.1', '0.1', '0.9', 'unreadable'])}"
        self.clinic.send(self._message(), photo, thread=f"t-{self.random.randrange(2)}")

    def opt_out(self) -> None:
        if self.random.random() < 0.05:
            self.clinic.send(self._message(), "0/0.1", opted_out=True)

    def claim(self) -> None:
        lease = timedelta(seconds=self.random.choice([0.01, 5]))
        with self.clinic.sessions.begin() as session:
            claimed = outbox.claim(session, limit=3, lease=lease, by="ehr")
            unjustified = {row.external_id for row in session.execute(text(UNJUSTIFIED))}
            self.handed_out += [request.message for request in claimed if request.message in unjustified]
        for request in claimed:
            assert request.token is not None
            if self.random.random() < 0.3:
                requests.acknowledge(self.clinic.sessions, request.id, request.token, by="ehr")
            elif self.random.random() < 0.3:
                requests.withdraw(self.clinic.sessions, request.id, by="nurse-1")

    def decide(self) -> None:
        self._decide(self._message())

    def decide_forgotten(self) -> None:
        if ids := self.clinic.query("SELECT id FROM message WHERE forgotten_at IS NOT NULL LIMIT 5"):
            self._decide(str(self.random.choice(ids).id))

    def _decide(self, message: str) -> None:
        outcome = self.random.choice([Outcome.PASS, Outcome.RETAKE])
        override(self.clinic.sessions, message, outcome, by="nurse-1", reason="seen", policy=self.clinic.policy)

    def forget(self) -> None:
        if self.random.random() < 0.2:
            forget(
                self.clinic.sessions,
                self.retention,
                self._message(),
                by="nurse-1",
                reason="request-17",
                policy=self.clinic.policy,
            )

    def purge(self) -> None:
        self.retention.purge(actor="op-1", seconds=1)

    def rescore(self) -> None:
        rescore(self.clinic, self.other)

    def expire(self) -> None:
        self.clinic.let_time_pass(30)

    def sweep(self) -> None:
        self.clinic.inbox.sweep()


def test_only_retakes_are_handed_out_when_all_act_on_the_same_messages_at_once(
    make_clinic: Callable[..., Clinic], make_other: Callable[[float], OtherModel], tmp_path: Path
) -> None:
    clinic, other = make_clinic(lease_seconds=2), make_other(0.9)
    retention = Retention(clinic.sessions, BlobStore(str(tmp_path)), keep=timedelta(days=1))

    with ThreadPoolExecutor(THREADS) as pool:
        crowds = [Crowd(clinic, other, retention, seed) for seed in range(THREADS)]
        handed_out = [message for found in pool.map(Crowd.run, crowds) for message in found]
    time.sleep(3)  # leases of batches that could not be recorded end
    clinic.inbox.sweep()
    clinic.drain()

    assert handed_out == []
    assert clinic.query(UNJUSTIFIED) == []
    assert clinic.query("SELECT 1 FROM attachment WHERE status IN ('pending', 'in_progress')") == []
    assert clinic.query("SELECT 1 FROM message WHERE current_decision_id IS NULL") == []
    assert clinic.query("SELECT supersedes_id FROM decision GROUP BY 1, message_id HAVING count(*) > 1") == []
