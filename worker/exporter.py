"""The exporter `triage metrics`: what the database, Redis, the blob store and the volumes say at each scrape.

Labels are states, codes and names of parts and models. Reasons: docs/decisions/0019-read-metrics-from-the-database.md
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from datetime import timedelta
from functools import partial
from typing import Any, Final, TypeVar

import structlog
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from triage.deadline import SoleCall
from triage.errors import Fault, ServiceUnavailableError
from triage.files.volumes import Volume, volume_of
from triage.model.cards import driver_responds, has_card
from triage.reports.drift import find_drift
from triage.storage.database import database_errors
from triage.storage.gauges import Gauges, RunningTraining, read_gauges
from triage.storage.server import restrict_to_reads
from worker.queues import PARTS
from worker.services import Services
from worker.stalls import find_silence

log = structlog.get_logger(__name__)

Value = TypeVar("Value")

_SCRAPE_SECONDS: Final = 8.0
"""Time for all sources together, in which a scrape of Prometheus ends (`scrape_timeout`)."""

_STATEMENT_MS: Final = 5000
_DRIFT_SECONDS: Final = 3600.0
"""Between two comparisons of periods, whose result changes once a week."""


class Exporter(Collector):
    """Reads all sources at each scrape, at the same time.

    One that is unavailable, or hangs as a network volume does, is reported as a metric and hides no other.
    """

    def __init__(self, services: Services, *, stall: timedelta, seconds: float = _SCRAPE_SECONDS) -> None:
        """
        Args:
            services: of any role; the exporter only reads.
            stall: time without progress after which a part counts as stalled.
            seconds: time limit for all sources together.
        """
        self._services = services
        self._sessions = services.sessions
        self._stall = stall
        self._seconds = seconds
        self._drift: dict[str, Any] = {"sources": []}
        self._drift_due = 0.0
        self._gauges = SoleCall(self._read_gauges)
        self._silent_parts = SoleCall(self._find_silent_parts)
        self._store = SoleCall(services.photo_store.check)
        self._drift_search = SoleCall(self._find_drift)
        self._comparison: Future[None] | None = None
        self._volumes = {name: SoleCall(partial(volume_of, folder)) for name, folder in services.folders.items()}
        self._driver = SoleCall(_driver_is_usable)

    def collect(self) -> Iterable[GaugeMetricFamily]:
        started = time.monotonic()
        reading, listening = self._gauges.start(), self._silent_parts.start()
        checking, asking = self._store.start(), self._driver.start()
        measuring = {name: volume.start() for name, volume in self._volumes.items()}
        # not waited for, as it may take longer than a scrape; a later scrape reports its failure
        compared, self._comparison = self._comparison, self._drift_search.start()
        calls: list[Future[Any]] = [reading, listening, checking, asking, *measuring.values()]
        wait(calls, timeout=self._seconds)

        if compared is not None and compared.done():
            _result_of("drift", compared)
        gauges, silent = _result_of("postgres", reading), _result_of("redis", listening)
        yield _one("triage_postgres_up", "Whether Postgres responds.", float(gauges is not None))
        yield _one("triage_redis_up", "Whether Redis responds.", float(silent is not None))
        yield _one("triage_exporter_seconds", "Duration of this reading.", time.monotonic() - started)
        if gauges is not None:
            is_there = float(_result_of("blob_store", checking) is not None)
            yield _one("triage_blob_store_up", "Whether the blob store is there and the right one.", is_there)
            yield from _families(gauges)
            stalled = gauges.stalled
            if silent is not None:
                stalled = {part: part in silent or stalled.get(part, False) for part in PARTS}
            yield _by("triage_stalled", "Whether a part is down, or has stalled.", ["part"], stalled)
            yield from _drift_families(self._drift)
        found = {name: _result_of(f"volume_{name}", volume) for name, volume in measuring.items()}
        yield from _volume_families({name: volume for name, volume in found.items() if volume is not None})
        yield _one(
            "triage_driver_missing",
            "Whether this machine has a GPU whose driver does not respond.",
            float(not _result_of("driver", asking)),
        )

    def _read_gauges(self) -> Gauges:
        with database_errors(), self._sessions() as session:
            restrict_to_reads(session, statement_timeout_ms=_STATEMENT_MS)
            return read_gauges(session, lease=self._services.settings.lease, stalled_after=self._stall)

    def _find_silent_parts(self) -> set[str]:
        return {part for part in PARTS if find_silence(self._services, part, self._stall)}

    def _find_drift(self) -> None:
        """Compares again every hour."""
        if time.monotonic() >= self._drift_due:
            self._drift_due = time.monotonic() + _DRIFT_SECONDS
            self._drift = find_drift(self._sessions)


def _driver_is_usable() -> bool:
    return not has_card() or driver_responds()


def _result_of(source: str, call: Future[Value]) -> Value | None:
    """None if the source is unavailable, or has not answered in time."""
    if not call.done():
        log.warning("service.unavailable", target=source, error_type="TimeoutError", kind=Fault.TOO_SLOW)
        return None
    try:
        return call.result()
    except ServiceUnavailableError as error:
        log.warning("service.unavailable", target=source, error_type=type(error).__name__, kind=error.kind)
        return None


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


def _volume_families(volumes: Mapping[str, Volume]) -> Iterator[GaugeMetricFamily]:
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
