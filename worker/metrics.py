"""Prometheus metrics, on a port that is closed by default. Labels are states, codes and model names.

Two sources: the exporter `triage metrics` reads the state in the database, and the child process of a worker serves
what it measures, such as the seconds per stage. Reasons: docs/decisions/0019-read-metrics-from-the-database.md
"""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Final

import structlog
from prometheus_client import Counter, Gauge, Histogram, start_http_server
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector, CollectorRegistry
from sqlalchemy import text

from triage.errors import ServiceUnavailableError, UsageError
from triage.storage.database import Sessions, database_errors
from triage.storage.gauges import Gauges, read_gauges

log = structlog.get_logger(__name__)

_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_STATEMENT_MS: Final = 5000

STAGE_SECONDS: Final = Histogram(
    "triage_stage_seconds",
    "Time of a stage: fetch, decode and findings for a photo, forward and write for a batch.",
    ["stage"],
    buckets=_SECONDS,
)
BATCH_FILL: Final = Histogram(
    "triage_batch_fill", "Photos of a batch, as a share of those that it could take.", buckets=(0.1, 0.25, 0.5, 0.75, 1)
)
PHOTOS: Final = Counter("triage_photos", "Photos that this worker has finished, by what became of them.", ["outcome"])
LEASES_EXPIRED: Final = Counter(
    "triage_leases_expired", "Photos whose lease ran out, by what the sweep did with them.", ["action"]
)
MODEL_LOADED: Final = Gauge("triage_model_loaded", "Models that this worker has loaded.", ["model", "engine"])
for _stage in ("fetch", "decode", "findings", "forward", "write"):
    STAGE_SECONDS.labels(_stage)
for _action in ("requeued", "parked"):
    LEASES_EXPIRED.labels(_action)


@contextmanager
def timed(stage: str) -> Iterator[None]:
    """Observes how long a block takes, also one that raises."""
    with STAGE_SECONDS.labels(stage).time():
        yield


class DatabaseCollector(Collector):
    """Reads the database at each scrape. A database that is away is a metric, not an error."""

    def __init__(
        self, sessions: Sessions, redis_answers: Callable[[], bool], *, lease: timedelta, stall: timedelta
    ) -> None:
        self._sessions = sessions
        self._redis_answers = redis_answers
        self._lease = lease
        self._stall = stall

    def collect(self) -> Iterable[GaugeMetricFamily]:
        started = time.monotonic()
        gauges = self._read()
        yield GaugeMetricFamily("triage_postgres_up", "Whether Postgres answers.", value=float(gauges is not None))
        yield GaugeMetricFamily("triage_redis_up", "Whether Redis answers.", value=float(self._redis_answers()))
        yield GaugeMetricFamily(
            "triage_exporter_seconds", "How long the last reading took.", value=time.monotonic() - started
        )
        if gauges is not None:
            yield from _families(gauges)

    def _read(self) -> Gauges | None:
        try:
            with database_errors(), self._sessions() as session:
                session.execute(text("SET TRANSACTION READ ONLY"))
                session.execute(text(f"SET LOCAL statement_timeout = {_STATEMENT_MS}"))
                return read_gauges(session, lease=self._lease, stalled_after=self._stall)
        except ServiceUnavailableError as error:
            log.warning("postgres.unavailable", error_type=type(error).__name__)
        return None


def _families(gauges: Gauges) -> Iterator[GaugeMetricFamily]:
    yield _by("triage_pending_photos", "Photos that wait to be scored.", ["state"], gauges.pending)
    yield _one("triage_photos_in_progress", "Photos under a lease.", gauges.in_progress)
    yield _one("triage_overdue_leases", "Photos whose lease has run out, not swept yet.", gauges.overdue_leases)
    yield _one(
        "triage_oldest_pending_seconds", "How long the oldest waiting photo is due.", gauges.oldest_pending_seconds
    )
    yield _by(
        "triage_verdicts_last_day", "Verdicts of the last 24 hours.", ["outcome", "origin"], gauges.verdicts_last_day
    )
    yield _by(
        "triage_parked_last_day", "Photos of the last 24 hours that are parked.", ["code"], gauges.parked_last_day
    )
    yield _by(
        "triage_retake_requests", "Open requests, and those closed of the last 24 hours.", ["state"], gauges.retakes
    )
    yield _by("triage_runs", "Open runs, and those that failed in the last 24 hours.", ["kind", "state"], gauges.runs)
    yield _by(
        "triage_model_info",
        "The live model and those in the shadow.",
        ["model", "version", "stage"],
        {(model.name, model.sha256[:12], model.stage): 1 for model in gauges.models},
    )
    yield _by("triage_stalled", "Whether a part stands still while there is work.", ["part"], gauges.stalled)


def _one(name: str, help_: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, help_, value=value)


def _by(name: str, help_: str, labels: list[str], values: dict[Any, Any]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, help_, labels=labels)
    for key, value in values.items():
        family.add_metric(list(key) if isinstance(key, tuple) else [key], float(value))
    return family


def serve(host: str, port: int, collector: Collector | None = None) -> int:
    """Serves metrics from a thread until the process ends: those of a collector, else those of this process.

    Returns:
        The port, which is another one if 0 was asked for.

    Raises:
        UsageError: the port cannot be opened.
    """
    try:
        if collector is None:
            server, _ = start_http_server(port, host)
        else:
            registry = CollectorRegistry()
            registry.register(collector)
            server, _ = start_http_server(port, host, registry)
    except OSError as error:
        raise UsageError(f"port {port} cannot be opened: another process has it, or the host is wrong") from error
    return server.server_port
