"""What a worker measures, such as the seconds per stage, for Prometheus; the port is closed by default.

Labels are states, codes and model names. Its child process serves them, and `worker/exporter.py` the state in the
database. Reasons: docs/decisions/0019-read-metrics-from-the-database.md
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from prometheus_client import REGISTRY, Counter, Gauge, Histogram, start_http_server
from prometheus_client.registry import Collector, CollectorRegistry

from triage.errors import UsageError

_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)

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
