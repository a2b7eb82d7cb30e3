"""What is wrong with a deployment, and how to mend it: one check for each thing that has to be right."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import psutil
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError
from sqlalchemy import text

from triage.domain.states import Part
from triage.errors import ModelError, ServiceUnavailableError, TriageError
from triage.model.artifact import check_weights
from triage.monitoring.health import stalled
from triage.storage import migrate
from triage.storage import model_versions as models
from triage.storage.database import database_errors
from worker.broker.liveness import Sign
from worker.queues import WORKERS
from worker.services import Services

_MIN_POSTGRES: Final = 140000
_MIN_FREE_BYTES: Final = 2**30
_CLOCKS_DIFFER: Final = timedelta(minutes=5)
_STALLED_AFTER: Final = timedelta(minutes=2)


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check; `remedy` says what to do where it is not `ok`."""

    name: str
    ok: bool
    detail: str
    remedy: str = ""
    unreachable: bool = False


def examine(services: Services) -> list[Check]:
    """Runs every check; one that fails stops no other."""
    checks: list[tuple[str, Callable[[Services], str]]] = [
        ("postgres", _postgres),
        ("clock", _clock),
        ("role", _role),
        ("tables", _tables),
        ("redis", _redis),
        ("blob store", _blob_store),
        ("live model", _live_model),
        ("workers", _workers),
        ("progress", _progress),
        ("disk", _disk),
    ]
    return [_run(name, check, services) for name, check in checks]


class _ProblemError(TriageError):
    """A check's finding, with its remedy."""

    def __init__(self, detail: str, remedy: str, *, unreachable: bool = False) -> None:
        super().__init__(detail)
        self.remedy = remedy
        self.unreachable = unreachable


def _run(name: str, check: Callable[[Services], str], services: Services) -> Check:
    try:
        with database_errors():
            return Check(name, ok=True, detail=check(services))
    except _ProblemError as problem:
        return Check(name, ok=False, detail=str(problem), remedy=problem.remedy, unreachable=problem.unreachable)
    except TriageError as error:
        detail, _, remedy = str(error).partition(": ")
        unreachable = isinstance(error, ServiceUnavailableError)
        return Check(name, ok=False, detail=detail, remedy=remedy, unreachable=unreachable)


def _postgres(services: Services) -> str:
    with services.engine.connect() as connection:
        version = int(connection.scalar(text("SHOW server_version_num")) or 0)
    if version < _MIN_POSTGRES:
        raise _ProblemError(f"Postgres {version // 10000} is too old", "use Postgres 14 or newer")
    return f"version {version // 10000}"


def _clock(services: Services) -> str:
    """Reports rely on clocks that agree to `CLOCKS_AGREE`; whoever keeps time at all does so to a second."""
    with services.engine.connect() as connection:
        theirs = connection.scalars(text("SELECT clock_timestamp()")).one()
    apart = abs(datetime.now(UTC) - theirs)
    if apart > _CLOCKS_DIFFER:
        raise _ProblemError(
            f"this machine's clock and that of Postgres are {timedelta(seconds=round(apart.total_seconds()))} apart",
            "set both by a time service (NTP)",
        )
    return "agrees with Postgres"


def _role(services: Services) -> str:
    with services.engine.connect() as connection:
        role, may_do_anything = connection.execute(
            text(
                "SELECT rolname, rolsuper OR EXISTS (SELECT FROM pg_tables WHERE tablename = 'decision' "
                "AND pg_has_role(current_user, tableowner, 'MEMBER')) FROM pg_roles WHERE rolname = current_user"
            )
        ).one()
    if may_do_anything:
        raise _ProblemError(
            "the database role is a superuser or owns the tables, and nothing keeps it from history",
            "make the roles with `triage db roles`, and use the URL of triage_worker",
        )
    return str(role)


def _tables(services: Services) -> str:
    if not migrate.is_current(services.engine):
        raise _ProblemError("the tables are not up to date", "run `triage db upgrade`")
    return f"revision {migrate.head()}"


def _redis(services: Services) -> str:
    try:
        version = services.redis.info("server")["redis_version"]
        policy = services.redis.info("memory").get("maxmemory_policy", "noeviction")
    except RedisError as error:
        raise _ProblemError(
            "Redis does not answer",
            "start it (`triage up` for the embedded one) or set TRIAGE_REDIS__URL; messages are accepted meanwhile",
            unreachable=True,
        ) from error
    if policy != "noeviction":
        raise _ProblemError(
            f"Redis may drop wake-ups (maxmemory-policy {policy})", "set maxmemory-policy noeviction on the server"
        )
    return f"version {version}"


def _blob_store(services: Services) -> str:
    services.blobs.check()
    return "writable"


def _live_model(services: Services) -> str:
    with services.sessions() as session:
        live = models.live(session)
    if live is None:
        raise _ProblemError("no model is live", "`triage models add FOLDER`, then `triage models promote NAME`")
    check_weights(live.card, services.registry.weights(live.card))
    if not live.card.trained:
        raise ModelError("the live model was never trained, its scores mean nothing: promote a trained one")
    return f"{live.card.label}, threshold {live.card.threshold:.3f}"


def _workers(services: Services) -> str:
    try:
        answers = services.celery.control.ping(timeout=2.0)
    except (OperationalError, RedisError, OSError) as error:
        raise _ProblemError(
            "workers cannot be asked, Redis does not answer", "start Redis", unreachable=True
        ) from error
    names = {name.partition("@")[0] for answer in answers for name in answer}
    missing = [kind for kind in WORKERS if kind not in names and kind != "training"]
    if missing:
        raise _ProblemError(
            f"no {' and no '.join(missing)} worker answers (one that is at work may not)",
            "; ".join(f"`triage worker {kind}`" for kind in missing),
        )
    return ", ".join(sorted(names))


def _progress(services: Services) -> str:
    for sign in Sign:
        if problem := services.pulse.missing(sign, _STALLED_AFTER.total_seconds()):
            raise _ProblemError(problem, f"look at the log of {sign.value} and restart it")
    for part in Part:
        if problem := stalled(services.sessions, part, _STALLED_AFTER, lease=services.settings.lease):
            raise _ProblemError(problem, f"look at the log of the {part.value} worker and restart it")
    return "nothing stands still"


def _disk(services: Services) -> str:
    home = services.settings.home
    folder = next(path for path in (home, *home.parents) if path.exists())
    free = psutil.disk_usage(str(folder)).free
    if free < _MIN_FREE_BYTES:
        raise _ProblemError(f"{free / 2**30:.1f} GiB are free", "make room, or set TRIAGE_BLOBS__URL to another store")
    return f"{free / 2**30:.0f} GiB free"
