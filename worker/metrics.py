"""Prometheus metrics, on a port that is closed by default. Labels are states, codes and model names.

Two sources: the exporter `triage metrics` reads the state in the database, and the child process of a worker serves
what it measures, such as the seconds per stage. Reasons: docs/decisions/0019-read-metrics-from-the-database.md
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import structlog
from prometheus_client import REGISTRY, Counter, Gauge, Histogram, start_http_server
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector, CollectorRegistry
from redis import Redis
from redis.exceptions import RedisError

from triage.errors import ServiceUnavailableError, UsageError
from triage.files.volumes import volume_of
from triage.model.cards import driver_responds, has_card
from triage.photo_store import PhotoStore
from triage.reports.drift import find_drift
from triage.storage.database import Sessions, database_errors
from triage.storage.gauges import Gauges, RunningTraining, read_gauges
from triage.storage.server import restrict_to_reads

log = structlog.get_logger(__name__)

_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_STATEMENT_MS: Final = 5000
_DRIFT_SECONDS: Final = 3600.0
"""Between two comparisons of periods, whose result changes once a week."""

STAGE_SECONDS: Final = Histogram(
    "triage_stage_seconds",
    "Duration of a stage: fetch, decode and findings per photo, forward and write per batch.",
    ["stage"],
    buckets=_SECONDS,
)
BATCH_FILL: Final = Histogram(
    "triage_batch_fill", "Photos per batch, as a share of the largest batch.", buckets=(0.1, 0.25, 0.5, 0.75, 1)
)
PHOTOS: Final = Counter("triage_photos", "Photos that this worker finished, by outcome.", ["outcome"])
LEASES_EXPIRED: Final = Counter("triage_leases_expired", "Expired leases of photos, by what the sweep did.", ["action"])
DELIVERIES: Final = Counter(
    "triage_delivery_attempts", "Attempts of this worker to send an event, by result.", ["target", "result"]
)
ARRIVALS: Final = Counter(
    "triage_arrivals_read", "Readings of this worker on other systems, by result.", ["source", "result"]
)
MODEL_LOADED: Final = Gauge("triage_model_loaded", "Models that this worker loaded.", ["model", "engine", "device"])
SCORED_TWICE: Final = Counter("triage_photos_scored_twice", "Photos that were also scored exactly.", ["model"])
LOGIT_ERROR: Final = Gauge("triage_logit_error", "Largest error of a logit that was computed twice.", ["model"])
ENGINE_UNAVAILABLE: Final = Gauge("triage_engine_unavailable", "Engines that were replaced.", ["engine", "reason"])
for _stage in ("fetch", "decode", "findings", "forward", "write"):
    STAGE_SECONDS.labels(_stage)
for _action in ("requeued", "parked"):
    LEASES_EXPIRED.labels(_action)


@contextmanager
def timed(stage: str) -> Iterator[None]:
    """Observes the duration of a block, even if it raises."""
    with STAGE_SECONDS.labels(stage).time():
        yield


class DatabaseCollector(Collector):
    """Reads the database at each scrape. An unavailable database is reported as a metric, not as an error."""

    def __init__(
        self,
        sessions: Sessions,
        redis: Redis,
        store: PhotoStore,
        folders: Mapping[str, Path],
        *,
        lease: timedelta,
        stall: timedelta,
    ) -> None:
        """
        Args:
            sessions: of any role; the exporter only reads.
            redis: is pinged at each scrape.
            store: is checked at each scrape.
            folders: by name; the free space of their volumes is reported.
            lease: length of the lease on photos.
            stall: time without progress after which a part counts as stalled.
        """
        self._sessions = sessions
        self._redis = redis
        self._store = store
        self._folders = folders
        self._lease = lease
        self._stall = stall
        self._drift: dict[str, Any] = {"sources": []}
        self._drift_due = 0.0

    def collect(self) -> Iterable[GaugeMetricFamily]:
        started = time.monotonic()
        gauges = self._read()
        yield _one("triage_postgres_up", "Whether Postgres responds.", float(gauges is not None))
        yield _one("triage_redis_up", "Whether Redis responds.", float(self._ping()))
        yield _one("triage_exporter_seconds", "Duration of this reading.", time.monotonic() - started)
        if gauges is not None:
            yield _one(
                "triage_blob_store_up", "Whether the blob store is there and the right one.", self._check_store()
            )
            yield from _families(gauges)
            yield from _drift_families(self._find_drift())
        yield from _volume_families(self._folders)
        yield _one(
            "triage_driver_missing",
            "Whether this machine has a GPU whose driver does not respond.",
            float(has_card() and not driver_responds()),
        )

    def _check_store(self) -> float:
        try:
            self._store.check()
        except ServiceUnavailableError as error:
            log.warning("service.unavailable", error_type=type(error).__name__, kind=error.kind)
            return 0.0
        return 1.0

    def _read(self) -> Gauges | None:
        try:
            with database_errors(), self._sessions() as session:
                restrict_to_reads(session, statement_timeout_ms=_STATEMENT_MS)
                return read_gauges(session, lease=self._lease, stalled_after=self._stall)
        except ServiceUnavailableError as error:
            log.warning("service.unavailable", error_type=type(error).__name__, kind=error.kind)
        return None

    def _find_drift(self) -> dict[str, Any]:
        """The last comparison; a new one every hour."""
        if time.monotonic() >= self._drift_due:
            self._drift_due = time.monotonic() + _DRIFT_SECONDS
            try:
                self._drift = find_drift(self._sessions)
            except ServiceUnavailableError as error:
                log.warning("service.unavailable", error_type=type(error).__name__, kind=error.kind)
        return self._drift

    def _ping(self) -> bool:
        try:
            return bool(self._redis.ping())
        except RedisError:
            return False


def _families(gauges: Gauges) -> Iterator[GaugeMetricFamily]:
    yield _by("triage_pending_photos", "Photos that wait to be scored.", ["state"], gauges.pending)
    yield _one("triage_unread_photos", "Photos that wait because their storage failed.", gauges.unread)
    yield _one("triage_photos_in_progress", "Photos under a lease.", gauges.in_progress)
    yield _one("triage_overdue_leases", "Expired leases that no sweep has handled.", gauges.overdue_leases)
    yield _one(
        "triage_oldest_pending_seconds",
        "Time the oldest photo has been due.",
        gauges.oldest_pending_seconds,
    )
    yield _by(
        "triage_verdicts_last_day", "Verdicts of the last 24 hours.", ["outcome", "origin"], gauges.verdicts_last_day
    )
    yield _by(
        "triage_parked_last_day",
        "Photos received in the last 24 hours that are not assessable.",
        ["code"],
        gauges.parked_last_day,
    )
    yield _by(
        "triage_retake_requests", "Open requests, and those closed in the last 24 hours.", ["state"], gauges.retakes
    )
    yield _one(
        "triage_oldest_waiting_retake_seconds",
        "Age of the oldest retake request that no sender holds.",
        gauges.oldest_waiting_retake_seconds,
    )
    yield _by(
        "triage_deliveries",
        "Events that wait or are dead, and those delivered or dropped in the last 24 hours.",
        ["target", "state"],
        gauges.deliveries,
    )
    yield _by(
        "triage_oldest_waiting_delivery_seconds",
        "Age of the oldest event that a target has not accepted and that is not dead.",
        ["target"],
        gauges.oldest_waiting_delivery_seconds,
    )
    yield _by(
        "triage_arrivals",
        "Messages of other systems that wait to be read or are dead.",
        ["source", "state"],
        gauges.arrivals,
    )
    yield _by(
        "triage_oldest_waiting_arrival_seconds",
        "Age of the oldest message of another system that waits to be read.",
        ["source"],
        gauges.oldest_waiting_arrival_seconds,
    )
    yield _by(
        "triage_arrivals_searched_seconds",
        "Time since the start of the last complete search of another system.",
        ["source"],
        gauges.searched_seconds,
    )
    yield _by("triage_runs", "Open runs, and those that failed in the last 24 hours.", ["kind", "state"], gauges.runs)
    yield from _training_families(gauges.trainings)
    yield _by(
        "triage_model_info",
        "The live model and the shadow models.",
        ["model", "version", "stage"],
        {(model.name, model.sha256[:12], model.stage): 1 for model in gauges.models},
    )
    yield _by("triage_stalled", "Whether a part has stalled.", ["part"], gauges.stalled)


def _training_families(trainings: Sequence[RunningTraining]) -> Iterator[GaugeMetricFamily]:
    """What is not known yet, such as the loss before the first epoch has ended, has no sample."""

    def family(name: str, help_: str, value_of: Callable[[RunningTraining], float | None]) -> GaugeMetricFamily:
        values = {(each.run_id, each.model): value_of(each) for each in trainings}
        known = {labels: value for labels, value in values.items() if value is not None}
        return _by(f"triage_training_{name}", help_, ["run", "model"], known)

    yield family("epoch", "The current epoch of a training, from 1; 0 before the first.", lambda t: t.epoch)
    yield family("loss", "Training loss of the last epoch.", lambda t: t.last.get("train_loss"))
    yield family("validation_loss", "Validation loss of the last epoch.", lambda t: t.last.get("validation_loss"))
    yield family(
        "validation_auc", "AUC on the validation photos of the last epoch.", lambda t: t.last.get("validation_auc")
    )
    yield family(
        "photos_per_second", "Photos per second that a training reads or learns from.", lambda t: t.photos_per_second
    )
    yield family(
        "heartbeat_age_seconds", "Time since the last heartbeat of a training.", lambda t: t.heartbeat_age_seconds
    )


def _drift_families(drift: Mapping[str, Any]) -> Iterator[GaugeMetricFamily]:
    compared = [source for source in drift["sources"] if source["drifted"] is not None]
    yield _by(
        "triage_drift",
        "Whether the photos of a source have changed since the promotion of the live model.",
        ["source"],
        {source["source"]: source["drifted"] for source in compared},
    )
    yield _by(
        "triage_drift_psi",
        "Population stability index of a feature of the photos of a source.",
        ["source", "feature"],
        {
            (source["source"], feature["feature"]): feature["psi"]
            for source in compared
            for feature in source["features"]
        },
    )


def _volume_families(folders: Mapping[str, Path]) -> Iterator[GaugeMetricFamily]:
    volumes = {name: volume for name, folder in folders.items() if (volume := volume_of(folder))}
    yield _by(
        "triage_volume_free_bytes",
        "Free bytes of the volume that holds a folder.",
        ["volume"],
        {name: volume.free_bytes for name, volume in volumes.items()},
    )
    yield _by(
        "triage_volume_free_share",
        "Free share of its bytes or inodes, whichever is smaller.",
        ["volume"],
        {name: volume.free_share for name, volume in volumes.items()},
    )
    yield _by(
        "triage_volume_low",
        "Whether the volume will soon be full.",
        ["volume"],
        {name: volume.is_low for name, volume in volumes.items()},
    )


def _one(name: str, help_: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, help_, value=value)


def _by(name: str, help_: str, labels: list[str], values: dict[Any, Any]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, help_, labels=labels)
    for key, value in values.items():
        family.add_metric(list(key) if isinstance(key, tuple) else [key], float(value))
    return family


def serve(host: str, port: int, collector: Collector | None = None) -> int:
    """Serves metrics from a thread until the process exits: those of a collector, or those of this process.

    Args:
        port: 0 selects a free port.

    Returns:
        The port.

    Raises:
        UsageError: the port cannot be opened.
    """
    registry = REGISTRY
    if collector is not None:
        registry = CollectorRegistry()
        registry.register(collector)
    try:
        server, _ = start_http_server(port, host, registry)
    except OSError as error:
        raise UsageError(f"cannot open port {port} on {host}: choose a free port and a local address") from error
    return server.server_port
