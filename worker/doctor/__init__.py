"""Checks of a deployment: one function for each condition that it needs, with a remedy for each problem."""

from collections.abc import Callable
from typing import Final

from triage.domain.checks import Check
from worker.doctor.models import check_device, check_drift, check_live_model
from worker.doctor.problems import run_check
from worker.doctor.services import (
    check_clock,
    check_connections,
    check_postgres,
    check_redis,
    check_role,
    check_tables,
    check_transport,
)
from worker.doctor.storage import check_blob_store, check_files, check_unread_photos, check_uri_roots, check_volumes
from worker.doctor.systems import check_arrivals, check_deliveries, check_fhir_server, check_replies, check_subscription
from worker.doctor.workers import check_progress, check_workers
from worker.services import Services

_NEEDS: Final = dict.fromkeys(
    (
        "transport",
        "connections",
        "clock",
        "role",
        "tables",
        "blob store",
        "unread photos",
        "deliveries",
        "arrivals",
        "live model",
        "drift",
        "progress",
    ),
    "postgres",
) | {"workers": "redis"}
"""Checks that cannot succeed while another check finds its service unavailable or refused: the remedy is that one's."""


def examine(services: Services) -> list[Check]:
    """Runs all checks of a deployment. A check that fails does not stop those that do not need its service."""
    settings = services.settings
    checks: dict[str, Callable[[], str]] = {
        "postgres": lambda: check_postgres(services.sessions),
        "transport": lambda: check_transport(services.sessions),
        "connections": lambda: check_connections(services.sessions, settings.database.pool_size),
        "clock": lambda: check_clock(services.sessions),
        "role": lambda: check_role(services.sessions),
        "tables": lambda: check_tables(services.engine),
        "redis": lambda: check_redis(services.redis, settings.redis.key_prefix),
        "blob store": lambda: check_blob_store(services.photo_store, services.blobs),
        "replies": lambda: check_replies(settings),
        "uri roots": lambda: check_uri_roots(services.uris),
        "unread photos": lambda: check_unread_photos(services.sessions),
        "deliveries": lambda: check_deliveries(services),
        "fhir server": lambda: check_fhir_server(services),
        "subscription": lambda: check_subscription(services),
        "arrivals": lambda: check_arrivals(services),
        "files": lambda: check_files(services),
        "device": lambda: check_device(settings.scorer),
        "live model": lambda: check_live_model(services.sessions, services.registry),
        "drift": lambda: check_drift(services.sessions),
        "workers": lambda: check_workers(
            services.celery, unused=("training",) if settings.needs_delivery_worker else ("training", "delivery")
        ),
        "progress": lambda: check_progress(services),
        "volumes": lambda: check_volumes(services.folders),
    }
    results: dict[str, Check] = {}
    for name, check in checks.items():
        needed = results.get(_NEEDS.get(name, ""))
        is_down = needed is not None and (needed.unreachable or needed.refused)
        results[name] = _not_checked(name, needed) if needed is not None and is_down else run_check(name, check)
    return list(results.values())


def _not_checked(name: str, needed: Check) -> Check:
    detail = f"not checked: {needed.name} {'refuses this process' if needed.refused else 'is unavailable'}"
    return Check(name, ok=False, detail=detail, unreachable=needed.unreachable, refused=needed.refused)
