"""A deployment for one fault: Postgres, Redis, workers as processes, a message system, and recovery times."""

import os
import random
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeVar

import kombu.pools
from sqlalchemy import text

from tests.support.cards import EVALUATED, make_card
from tests.system.chaos.parts import Parts, node_name
from tests.system.chaos.photos import draw_photos
from tests.system.chaos.sender import Collector, Sender
from triage.errors import ServiceUnavailableError
from triage.model.artifact import write_artifact
from triage.storage.database import database_errors
from worker.embedded.postgres import EmbeddedPostgres
from worker.embedded.redis import EmbeddedRedis
from worker.embedded.stack import migrate_database
from worker.services import Services
from worker.settings import InboxSettings, RedisSettings, Settings
from worker.state_folder import StateFolder

Value = TypeVar("Value")

LEASE_SECONDS: Final = 8.0
_STALL_SECONDS: Final = 150.0
_VARIABLES: Final = {
    "INBOX__LEASE_SECONDS": f"{LEASE_SECONDS:g}",
    "INBOX__SWEEP_SECONDS": "1",
    "INBOX__RETRY_BACKOFF_SECONDS": "0",
    "REDIS__SOCKET_TIMEOUT_SECONDS": "3",
    "SCORER__PHOTOS_PER_BATCH": "8",
    "SCORER__THREADS": "1",
    "TRAINING__LEASE_SECONDS": "5",
    "TRAINING__THREADS": "1",
}


@dataclass(frozen=True)
class Scale:
    """The number of messages, repetitions of the fault and its duration.

    Attributes:
        kills: number of processes that the fault `kills` kills.
        times: repetitions of any other fault.
        seconds: duration of an outage; a stopped Redis takes half of it.
    """

    messages: int
    photos: int
    kills: int
    times: int
    seconds: float


class Site:
    """A deployment made by `open_site`: both services run and a model is live, but no worker runs yet."""

    def __init__(self, folder: Path, dice: random.Random) -> None:
        self.folder = folder
        self.dice = dice
        self.state = StateFolder(folder / "state")
        self.postgres, self.redis = EmbeddedPostgres(self.state), EmbeddedRedis(self.state)
        self.settings = Settings(
            home=self.state.root,
            redis=RedisSettings(socket_timeout_seconds=3),
            inbox=InboxSettings(lease_seconds=LEASE_SECONDS, sweep_seconds=1, retry_backoff_seconds=0),
        )
        self.services = Services(self.settings)
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("TRIAGE_")}
        variables = {"TRIAGE_HOME": str(self.state.root)} | {f"TRIAGE_{k}": v for k, v in _VARIABLES.items()}
        (folder / "logs").mkdir()
        self.parts = Parts(folder / "logs", inherited | variables)
        self.photos = draw_photos(dice)
        self.sender = Sender(self.services, self.photos, dice)
        self.collector = Collector(self.services, random.Random(dice.random()))
        self._faults_ended: list[datetime] = []

    def start(self) -> None:
        """Starts both services, creates the tables and promotes a model."""
        self.postgres.start()
        self.redis.start()
        self.postgres.ensure_database("triage")
        migrate_database(self.state)
        self.add_model("first")
        self.services.registry.promote("first", actor="chaos")

    def close(self) -> None:
        self.collector.close()
        self.parts.close()
        kombu.pools.reset()  # kombu pools connections by URL for the whole process
        self.services.close()
        self.redis.stop()
        self.postgres.stop("immediate")

    def add_model(self, name: str) -> None:
        write_artifact(self.folder / name, make_card(name, metrics=EVALUATED), name.encode())
        self.services.registry.add_folder(self.folder / name, actor="chaos")

    def query(self, sql: str, **parameters: object) -> list[Any]:
        with database_errors(), self.services.sessions() as session:
            return list(session.execute(text(sql), parameters))

    def send(self, scale: Scale, share: float = 1.0) -> None:
        """Sends a share of the messages, at least one."""
        n = max(1, int(scale.messages * share))
        self.sender.send(n, max(3, int(scale.photos * share)))

    def n_open(self) -> int:
        """Counts photos without a result and runs that have not ended."""
        [(n,)] = self.query(
            "SELECT (SELECT count(*) FROM attachment WHERE status IN ('pending', 'in_progress')) + "
            "(SELECT count(*) FROM run WHERE status IN ('pending', 'running'))"
        )
        return int(n)

    def _open_rows(self) -> list[Any]:
        return self.query(
            "SELECT 'attachment', status, attempts, lease_until, due_at FROM attachment "
            "WHERE status IN ('pending', 'in_progress') UNION ALL "
            "SELECT kind, status, attempts, lease_until, heartbeat_at FROM run WHERE status IN ('pending', 'running')"
        )

    def wait_for_work(self) -> None:
        """Waits until a worker holds work."""
        self.wait_until(lambda: self.query("SELECT FROM attachment WHERE status = 'in_progress' LIMIT 1"))

    def wait_until(self, ask: Callable[[], Value]) -> Value:
        """Polls until the answer is true. An unavailable service is polled again."""
        deadline = time.monotonic() + _STALL_SECONDS
        while True:
            try:
                if answer := ask():
                    return answer
            except ServiceUnavailableError:
                pass
            if time.monotonic() > deadline:
                raise AssertionError(f"no progress for {_STALL_SECONDS:.0f} s")
            time.sleep(0.1)

    def wait_until_up(self, name: str) -> None:
        """Waits until a worker answers a ping. Beat answers no ping, so this waits for its start-up time."""
        if name.startswith("beat"):
            time.sleep(3)
            return
        ping = self.services.celery.control.ping
        self.wait_until(lambda: ping(destination=[node_name(name)], timeout=1))

    def settle(self) -> None:
        """Waits until nothing is open and every request is acknowledged, without intervention."""
        deadline, before = time.monotonic() + _STALL_SECONDS, -1
        while left := self.wait_until(lambda: self.n_open() + 1) - 1:
            if left != before:
                deadline, before = time.monotonic() + _STALL_SECONDS, left
            if time.monotonic() > deadline:
                raise AssertionError(f"no progress for {_STALL_SECONDS:.0f} s; open: {self._open_rows()}")
            time.sleep(0.2)
        self.wait_until(lambda: not self.query("SELECT FROM retake_request WHERE status IN ('flagged', 'claimed')"))

    def fault_ended(self) -> None:
        """Records the end of a fault: recovery time runs until the next result."""
        self._faults_ended.append(datetime.now(UTC))

    def seconds_to_recover(self) -> float | None:
        """The longest time from the end of a fault to the next result; None if no result was outstanding."""
        moments = sorted(
            row.at
            for row in self.query(
                "SELECT finished_at AS at FROM attachment WHERE finished_at IS NOT NULL "
                "UNION ALL SELECT created_at FROM verdict"
            )
        )
        waits = [
            (following[0] - ended).total_seconds()
            for ended in self._faults_ended
            if (following := [moment for moment in moments if moment > ended][:1])
        ]
        return max(waits, default=None)

    @contextmanager
    def sending(self, scale: Scale, share: float) -> Iterator[None]:
        """Sends messages one after another during the block, and waits until all are accepted."""
        thread = threading.Thread(target=self.send, args=(scale, share), name="sender", daemon=True)
        thread.start()
        yield
        self.wait_until(lambda: not thread.is_alive())

    @contextmanager
    def trickle(self, n_messages: int, n_photos: int, *, seconds: float) -> Iterator[None]:
        """Sends messages with `photos` photos in total, spread over `seconds`, and waits until all are accepted."""

        def send() -> None:
            for number in range(n_messages):
                photos = (number + 1) * n_photos // n_messages - number * n_photos // n_messages
                self.sender.send(1, photos)
                time.sleep(seconds / n_messages)

        thread = threading.Thread(target=send, name="sender", daemon=True)
        thread.start()
        yield
        thread.join()


@contextmanager
def open_site(seed: int, variables: Mapping[str, str] | None = None) -> Iterator[Site]:
    """A site in a temporary folder, which is deleted afterwards.

    Args:
        seed: of everything that is drawn.
        variables: settings of the parts besides the usual ones, without `TRIAGE_`.
    """
    folder = Path(tempfile.mkdtemp(prefix="triage-chaos-", dir="/var/tmp"))  # readable by Postgres when started by root
    folder.chmod(0o711)
    site = Site(folder, random.Random(seed))
    site.parts.environment |= {f"TRIAGE_{name}": value for name, value in (variables or {}).items()}
    try:
        site.start()
        yield site
    finally:
        site.close()
        if "CHAOS_KEEP" not in os.environ:
            shutil.rmtree(folder)
