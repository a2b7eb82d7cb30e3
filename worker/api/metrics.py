"""Metrics of the HTTP server, which `/metrics` shows. Labels are names of endpoints, statuses and codes."""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

REGISTRY: Final = CollectorRegistry()
_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)

REQUESTS: Final = Counter(
    "triage_http_requests",
    "Requests that were answered, by endpoint and status.",
    ["endpoint", "status"],
    registry=REGISTRY,
)
SECONDS: Final = Histogram(
    "triage_http_request_seconds", "Duration of a request.", ["endpoint"], buckets=_SECONDS, registry=REGISTRY
)
ASSESSMENTS: Final = Counter(
    "triage_assessments",
    "Photos that were checked before they were sent, by outcome. Nothing else is kept of them.",
    ["outcome"],
    registry=REGISTRY,
)
IN_PROGRESS: Final = Gauge("triage_http_requests_in_progress", "Requests in progress.", registry=REGISTRY)
ProcessCollector(registry=REGISTRY)
