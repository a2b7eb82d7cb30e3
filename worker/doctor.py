"""Checks of a deployment: one function for each condition that it needs, with a remedy for each problem."""

from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from redis import Redis
from sqlalchemy import Engine

from triage.blobs.store import BlobStore
from triage.blobs.uris import UriPolicy
from triage.domain.checks import Check
from triage.domain.states import ArrivalStatus, DeliveryStatus, Part
from triage.errors import ModelError, ServiceRefusedError, ServiceUnavailableError, TablesOutdatedError, TriageError
from triage.files.reach import count_out_of_reach
from triage.files.volumes import Volume, volume_of
from triage.model.artifact import check_weights
from triage.model.cards import driver_responds, has_card
from triage.monitoring.health import stalled
from triage.photo_store import PhotoStore
from triage.registry import Registry
from triage.reports.drift import find_drift
from triage.storage import arrivals, deliveries, migrate, server
from triage.storage import model_versions as models
from triage.storage.database import Sessions, database_errors
from triage.storage.health import count_unread
from worker.broker.faults import redis_errors
from worker.broker.keys import BrokerKeys
from worker.broker.liveness import Heartbeat
from worker.hints import with_hint
from worker.queues import WORKERS
from worker.services import Services
from worker.setting_groups import ScorerSettings
from worker.settings import Settings

if TYPE_CHECKING:
    from celery import Celery

_MIN_POSTGRES: Final = 140000
_MAX_CLOCK_DIFFERENCE: Final = timedelta(minutes=5)
_STALLED_AFTER: Final = timedelta(minutes=2)
_DELIVERY_LATE: Final = timedelta(hours=1)
_ARRIVAL_LATE: Final = timedelta(hours=1)
_SEARCH_LATE: Final = timedelta(minutes=30)
_PING_SECONDS: Final = 2.0
_VARIABLES: Final = {
    "photos": "TRIAGE_BLOBS__URL",
    "models": "TRIAGE_MODELS__URL",
    "runs": "TRIAGE_TRAINING__FOLDER",
    "engines": "TRIAGE_SCORER__CACHE_FOLDER",
}
"""The setting of each folder that workers write to."""
_NEEDS: Final = dict.fromkeys(
    (
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


class ProblemError(TriageError):
    """A problem that a check found, with its remedy."""

    def __init__(self, detail: str, remedy: str) -> None:
        super().__init__(detail)
        self.remedy = remedy


def run_check(name: str, check: Callable[[], str]) -> Check:
    """Runs a check that returns the state in one line, and turns its errors into a result."""
    try:
        with database_errors():
            return Check(name, ok=True, detail=check())
    except ProblemError as problem:
        return Check(name, ok=False, detail=str(problem), remedy=problem.remedy)
    except TriageError as error:
        detail, _, remedy = with_hint(error).partition(": ")
        refused = isinstance(error, ServiceRefusedError)
        outage = isinstance(error, ServiceUnavailableError) and not isinstance(error, TablesOutdatedError)
        return Check(name, ok=False, detail=detail, remedy=remedy, unreachable=outage and not refused, refused=refused)


def check_postgres(sessions: Sessions) -> str:
    with sessions() as session:
        version, has_time_limits = server.server_version(session), server.has_time_limits(session)
        encoding = server.encoding(session)
    if version < _MIN_POSTGRES:
        raise ProblemError(f"Postgres {version // 10000} is not supported", "upgrade to Postgres 14 or newer")
    if encoding != "UTF8":
        raise ProblemError(
            f"the database has the encoding {encoding}", "create it with ENCODING 'UTF8' TEMPLATE template0"
        )
    if not has_time_limits:
        raise ProblemError(
            "a pooler drops the time limits of connections", "run `triage db roles`, then restart the pooler"
        )
    return f"version {version // 10000}"


def check_clock(sessions: Sessions) -> str:
    """Reports assume that the clocks of all hosts agree within `CLOCKS_AGREE`."""
    with sessions() as session:
        difference = abs(datetime.now(UTC) - server.server_time(session))
    if difference > _MAX_CLOCK_DIFFERENCE:
        raise ProblemError(
            f"the clocks of this host and of Postgres differ by {timedelta(seconds=round(difference.total_seconds()))}",
            "synchronise both with NTP",
        )
    return "agrees with Postgres"


def check_role(sessions: Sessions) -> str:
    with sessions() as session:
        name, can_change_history = server.current_role(session)
    if can_change_history:
        raise ProblemError(
            "the database role is a superuser or owns the tables, so it can change the history",
            "create the roles with `triage db roles` and connect as triage_worker",
        )
    return name


def check_tables(engine: Engine) -> str:
    migrate.check_current(engine)
    return f"revision {migrate.head()}"


def check_redis(redis: Redis, key_prefix: str) -> str:
    with redis_errors():
        version = redis.info("server")["redis_version"]
        policy = redis.info("memory").get("maxmemory_policy", "noeviction")
        damaged = BrokerKeys(redis, key_prefix).damaged()
    if damaged:
        raise ProblemError(
            f"another client has overwritten keys of the queues: {', '.join(damaged)}",
            "running workers delete them within seconds; if they come back, give no other client access to Redis",
        )
    if policy != "noeviction":
        raise ProblemError(f"Redis may evict tasks (maxmemory-policy {policy})", "set maxmemory-policy noeviction")
    return f"version {version}"


def check_blob_store(store: PhotoStore, blobs: BlobStore) -> str:
    is_set_up = store.check()
    if not is_set_up and blobs.folder and not blobs.folder.exists():
        return "the first photo sets it up"
    blobs.check()
    return "writable" if is_set_up else "writable, and the first photo sets it up"


def check_replies(settings: Settings) -> str:
    """Names the languages, and those that no reviewer has signed in their current version."""
    texts = settings.catalogue.locales.values()
    drafts = [each.tag for each in texts if each.review is None]
    not_reviewed = f"; drafts that no clinician has reviewed: {', '.join(drafts)}" if drafts else ""
    return f"{', '.join(each.tag for each in texts)}{not_reviewed}"


def check_uri_roots(uris: UriPolicy) -> str:
    if missing := uris.missing_shares():
        raise ProblemError(
            f"{missing} of {uris.n_roots} roots for photos cannot be read",
            "mount the share, or remove its root from TRIAGE_INTAKE__URI_ROOTS",
        )
    return f"{uris.n_roots} configured"


def check_unread_photos(sessions: Sessions) -> str:
    with sessions() as session:
        unread = count_unread(session)
    if unread:
        raise ProblemError(
            f"{unread:,} photo{'' if unread == 1 else 's'} cannot be read from their storage, and wait",
            "mount the share or the store, or restore the lost files: the photos are retried",
        )
    return "none"


def check_deliveries(services: Services) -> str:
    """Examines the events for other systems: is each target known here, and does it accept them?"""
    with services.sessions() as session:
        registered = deliveries.targets(session)
        now = datetime.now(UTC)
        counts = deliveries.count_by_state(session, closed_since=now)
    if not registered:
        return "no target" if not services.targets else "the first sweep registers the target"
    if unknown := [target for target in registered if target not in services.targets]:
        raise ProblemError(
            f"events are stored for {', '.join(unknown)}, and these settings do not name it",
            "set the variables of this target for all workers, or run `triage deliveries stop TARGET`",
        )
    dead = sum(each.n for each in counts if each.status == DeliveryStatus.DEAD)
    if dead:
        raise ProblemError(
            f"{dead:,} event{' is' if dead == 1 else 's are'} dead: all attempts to send failed",
            "run `triage deliveries list --status dead`, then `triage deliveries retry --dead` or `drop --dead`",
        )
    waiting = [each for each in counts if each.status == DeliveryStatus.PENDING]
    if late := [each.target for each in waiting if now - each.oldest > _DELIVERY_LATE]:
        raise ProblemError(
            f"{', '.join(late)} has not accepted an event for over an hour",
            "run `triage deliveries list --status pending` to see the error, and check the receiver",
        )
    return ", ".join(f"{target}: {sum(e.n for e in waiting if e.target == target):,} waiting" for target in registered)


def check_fhir_server(services: Services) -> str:
    """Asks the EHR's FHIR server what it is, with a token."""
    if not services.settings.fhir.is_on:
        return "none"
    version = services.fhir.capabilities().get("fhirVersion")
    if not (isinstance(version, str) and version.startswith("4.0")):
        raise ProblemError(
            "the FHIR server does not serve R4 (4.0)", "set TRIAGE_FHIR__URL to the base of its R4 version"
        )
    return f"serves {version} and gives tokens"


def check_subscription(services: Services) -> str:
    """Asks the EHR's FHIR server for the state of this product's subscription."""
    fhir = services.settings.fhir
    if fhir.hook_url is None:
        return "none"
    from worker.fhir.subscription import find  # deferred: imports httpx2

    status = find(services.fhir, fhir).status
    if status is None:
        raise ProblemError(
            "the FHIR server has no subscription of this product", "run `triage fhir subscribe` to see the reason"
        )
    if status in {"off", "error"}:
        raise ProblemError(
            f"the FHIR server has switched the subscription to {status}",
            "it is renewed at the next search; check that the server reaches TRIAGE_FHIR__HOOK_URL with its key",
        )
    return status


def check_arrivals(services: Services) -> str:
    """Examines the messages that other systems hold: can they be read?"""
    with services.sessions() as session:
        counts, searched = arrivals.count_by_state(session), arrivals.searched_up_to(session)
    fhir, now = services.settings.fhir, datetime.now(UTC)
    dead = sum(each.n for each in counts if each.status is ArrivalStatus.DEAD)
    if dead:
        raise ProblemError(
            f"{dead:,} message{' of another system is' if dead == 1 else 's of other systems are'} dead: malformed or "
            "rejected",
            "run `triage arrivals list --status dead`; each is read again when it changes there, or by "
            "`triage arrivals retry --dead`",
        )
    waiting = [each for each in counts if each.status is ArrivalStatus.PENDING]
    if late := [each.source for each in waiting if now - each.oldest > _ARRIVAL_LATE]:
        raise ProblemError(
            f"messages of {', '.join(late)} have waited to be read for over an hour",
            "check the server, and that a delivery worker runs with TRIAGE_FHIR__URL: its log has the reason",
        )
    limit = _SEARCH_LATE.total_seconds() + 2 * fhir.poll_seconds
    if fhir.poll_query is not None and searched.get(fhir.source, 0) > limit:
        raise ProblemError(
            f"{fhir.source} was not searched for {timedelta(seconds=round(searched[fhir.source]))}",
            "check the server and TRIAGE_FHIR__POLL_QUERY: the log of the delivery worker has the reason",
        )
    return f"{sum(each.n for each in waiting):,} waiting"


def check_files(services: Services) -> str:
    """Examines what is below the folders, which may have been made by commands of another user."""
    folders = services.folders
    counts = {name: count_out_of_reach(folders[key]) for key, name in _VARIABLES.items() if key in folders}
    if any(counts.values()):
        places = ", ".join(f"{number:,} below {name}" for name, number in counts.items() if number)
        raise ProblemError(
            f"the workers' user cannot read or delete files or folders: {places}",
            "chown them to that user, or set TRIAGE_FILES__GROUP, chgrp -R them to that group and chmod -R g+rwX",
        )
    return "readable and deletable"


def check_live_model(sessions: Sessions, registry: Registry) -> str:
    with sessions() as session:
        live = models.live(session)
    if live is None:
        raise ProblemError("no model is live", "run `triage models add FOLDER`, then `triage models promote NAME`")
    check_weights(live.card, registry.weights(live.card))
    if not live.card.trained:
        raise ModelError("the live model is untrained, so its scores mean nothing: promote a trained model")
    return f"{live.card.label}, threshold {live.card.threshold:.3f}"


def check_drift(sessions: Sessions) -> str:
    """Names the sources whose photos have changed since the promotion of the live model."""
    found = find_drift(sessions)
    if drifted := [each["source"] for each in found["sources"] if each["drifted"]]:
        raise ProblemError(
            f"photos of {', '.join(drifted)} are no longer like those at the promotion of the live model",
            "run `triage drift`, look at the messages that it names, and evaluate the model on new labels",
        )
    return "none" if found["status"] == "stable" else "unknown: too few photos or too early"


def check_device(scorer: ScorerSettings) -> str:
    """Examines the machine of this command."""
    if scorer.device == "cpu" or scorer.engine == "mnn":
        return "the CPU, by setting"
    if not has_card():
        return "no GPU on this machine"
    if not driver_responds():
        raise ProblemError(
            "this machine has a GPU whose driver does not respond, so its workers do not use it",
            "install or restart the NVIDIA driver, or give the container the GPU; to do without, set "
            "TRIAGE_SCORER__DEVICE=cpu",
        )
    return "the driver of the GPU responds"


def check_workers(celery: "Celery", *, unused: Collection[str] = ("training", "delivery")) -> str:
    """Asks which workers are there. Kinds that this deployment does not need may be missing."""
    with redis_errors():
        answers = celery.control.ping(timeout=_PING_SECONDS)
    names = {name.partition("@")[0] for answer in answers for name in answer}
    missing = [kind for kind in WORKERS if kind not in names and kind not in unused]
    if missing:
        raise ProblemError(
            f"no {' and no '.join(missing)} worker answers (a busy one may not)",
            "; ".join(f"`triage worker {kind}`" for kind in missing),
        )
    return ", ".join(sorted(names))


def check_progress(services: Services, *, stalled_after: timedelta = _STALLED_AFTER) -> str:
    problems: list[tuple[str, str]] = []
    for kind in WORKERS:
        if problem := services.worker_heartbeats.stalled(kind, stalled_after.total_seconds()):
            problems.append((problem, f"read the log of the {kind} worker and restart it"))
    for heartbeat in Heartbeat:
        if problem := services.liveness.missing(heartbeat, stalled_after.total_seconds()):
            problems.append((problem, f"read the log of {heartbeat} and restart it"))
    for part in Part:
        if problem := stalled(services.sessions, part, stalled_after, lease=services.settings.lease):
            problems.append((problem, f"read the log of the {part} worker and restart it"))
    if problems:
        raise ProblemError("; ".join(problem for problem, _ in problems), problems[0][1])
    return "no part has stalled"


def check_volumes(folders: Mapping[str, Path]) -> str:
    """Examines each volume once, with the names of the folders that it holds."""
    volumes: dict[int, tuple[Volume, list[str]]] = {}
    for name, folder in folders.items():
        if volume := volume_of(folder):
            volumes.setdefault(volume.device, (volume, []))[1].append(name)
    states = [(volume.is_low, f"{', '.join(names)}: {_free(volume)}") for volume, names in volumes.values()]
    if low := [state for is_low, state in states if is_low]:
        raise ProblemError("; ".join(low), "free some space, enlarge the volume, or purge older photos")
    return "; ".join(state for _, state in states)


def _free(volume: Volume) -> str:
    return f"{volume.free_bytes / 2**30:.1f} GiB ({volume.free_share:.0%}) free"
