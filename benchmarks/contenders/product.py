"""This product as deployed: intake, Postgres, Redis and a scoring worker."""

import json
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Self

import psutil
import psycopg

from triage.domain.messages import IncomingAttachment, IncomingMessage
from triage.model.engines.engine import EngineName
from triage.model.starter import STARTER_FOLDER
from worker.embedded.stack import EmbeddedStack
from worker.services import Services
from worker.settings import BlobSettings, DatabaseSettings, IntakeSettings, ModelSettings, RedisSettings, Settings

PHOTOS_PER_BATCH = 4

_SOURCE = "benchmark"

_IS_OPEN = """
    SELECT EXISTS (
        SELECT FROM attachment JOIN message ON message.id = attachment.message_id
        WHERE message.source = %s AND status IN ('pending', 'in_progress')
    )
"""


class Product:
    """One scoring worker on the CPU over temporary services."""

    def __init__(self, engine: EngineName, variables: Mapping[str, str] | None = None) -> None:
        """
        Args:
            engine: of the worker.
            variables: further settings, without the prefix `TRIAGE_`; those of the intake hold for the sender too.
        """
        variables = {f"TRIAGE_{name}": value for name, value in (variables or {}).items()}
        self._folder = Path(
            tempfile.mkdtemp(prefix="triage-benchmark-", dir="/var/tmp")
        )  # readable by Postgres when started by root
        self._folder.chmod(0o711)
        self._settings = Settings(
            home=self._folder / "state",
            database=DatabaseSettings(),
            redis=RedisSettings(),
            blobs=BlobSettings(),
            models=ModelSettings(),
            intake=IntakeSettings(
                **{
                    name.removeprefix("TRIAGE_INTAKE__").lower(): value
                    for name, value in variables.items()
                    if name.startswith("TRIAGE_INTAKE__")
                }
            ),
        )
        environment = {name: value for name, value in os.environ.items() if not name.startswith("TRIAGE_")}
        self._stack = EmbeddedStack(
            self._settings.embedded,
            environment | {"TRIAGE_SCORER__ENGINE": engine, "TRIAGE_SCORER__DEVICE": "cpu"} | variables,
        )
        self._services = Services(self._settings)
        self._numbers = count()

    def __enter__(self) -> Self:
        self._stack.start_services()
        self._stack.migrate()
        self._settings.embedded.prepare()
        registry = self._services.registry
        model = registry.add_folder(STARTER_FOLDER, actor="benchmark")
        registry.promote(model.card.weights_sha256, actor="benchmark")
        self._stack.start_workers(["scoring"])
        url = self._settings.embedded.database_url()
        self._connection = psycopg.connect(url.replace("+psycopg", ""), autocommit=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()
        self._services.close()
        self._stack.stop()
        shutil.rmtree(self._folder)

    def score(self, photos: Sequence[bytes], n: int) -> float:
        """Seconds from enqueueing n messages of one photo to the last decision."""
        started = time.perf_counter()
        self._send(photos, n)
        self.wait_for(_SOURCE)
        return time.perf_counter() - started

    def latency(self, photos: Sequence[bytes], n: int, forward_seconds: float) -> dict[str, float]:
        """Latency of a message in an idle system beyond its forward pass."""
        beyond = []
        for _ in range(n):
            time.sleep(0.3)
            started = time.perf_counter()
            self._send(photos, 1)
            self.wait_for(_SOURCE, every_seconds=0.01)
            beyond.append(1000 * (time.perf_counter() - started - forward_seconds))
        beyond.sort()
        return {"n": n, "p50_ms": statistics.median(beyond), "p99_ms": beyond[min(n - 1, round(0.99 * n))]}

    def memory_mb(self) -> float:
        """Peak memory of the worker and its children."""
        return peak_memory_mb(self._stack.running()["scoring"])

    @property
    def services(self) -> Services:
        return self._services

    @property
    def worker_pid(self) -> int:
        """Process id of the worker's parent process."""
        pid = self._stack.running()["scoring"]
        if pid is None:
            raise RuntimeError("the worker has ended: read its log")
        return pid

    def outcomes(self) -> dict[str, int]:
        """The number of photos by status and error code."""
        rows = self._connection.execute(
            "SELECT concat_ws(' ', status, error_code), count(*) FROM attachment GROUP BY 1 ORDER BY 1"
        )
        return dict(rows.fetchall())

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Suspends the worker and its processes."""
        worker = psutil.Process(self.worker_pid)
        processes = [worker, *worker.children(recursive=True)]
        for process in processes:
            process.suspend()
        yield
        for process in processes:
            process.resume()

    def send(self, messages: Sequence[IncomingMessage]) -> None:
        self._services.intake.enqueue(messages)

    def wait_for(self, source: str, every_seconds: float = 0.05) -> None:
        """Waits until all photos of a source are scored. It polls rarely, since it competes with scoring for cores."""
        while self._connection.execute(_IS_OPEN, [source], prepare=True).fetchone() == (True,):
            time.sleep(every_seconds)

    def batch_fill(self) -> float:
        """Mean fill of a batch over all drains, 0..1."""
        batches = photos = 0
        for line in (self._settings.embedded.logs / "scoring.log").read_text(encoding="utf-8").splitlines():
            event = json.loads(line) if line.startswith("{") else {}
            if event.get("event") == "inbox.drained":
                batches += event["batches"]
                photos += event["scored"]
        return photos / (PHOTOS_PER_BATCH * batches) if batches else 0.0

    def _send(self, photos: Sequence[bytes], n: int) -> None:
        self._services.intake.enqueue(
            [
                IncomingMessage(
                    _SOURCE, f"m{next(self._numbers)}", [IncomingAttachment(data=photos[index % len(photos)])]
                )
                for index in range(n)
            ]
        )


def peak_memory_mb(pid: int | None) -> float:
    """Sum of the peak resident sizes of a process and its descendants."""
    if pid is None:
        return 0.0
    process = psutil.Process(pid)
    kilobytes = 0
    for each in (process, *process.children(recursive=True)):
        status = Path(f"/proc/{each.pid}/status").read_text(encoding="ascii")
        kilobytes += int(status.partition("VmHWM:")[2].split()[0])
    return kilobytes / 1024
