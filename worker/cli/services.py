"""Commands that start, stop and watch processes: `up`, `down`, `status`, `worker`, `beat`, `health`, `metrics`."""

import os
import signal
import sys
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Final, NoReturn

import click

from triage.errors import TriageError, UsageError
from worker.cli.commands import command
from worker.cli.options import SECONDS
from worker.cli.output import json_option, print_document
from worker.cli.tables import print_line, print_table
from worker.commands import beat_command, celery_command
from worker.queues import PARTS, WORKERS
from worker.services import open_services
from worker.stalls import find_stall

if TYPE_CHECKING:
    from worker.embedded.stack import EmbeddedStack
    from worker.settings import Settings


_USERS_OF_PHOTOS: Final = frozenset({"scoring", "intake"})


@command()
@click.option("--detach", "-d", is_flag=True, help="Return when everything has started; `triage down` stops it.")
@click.option("--training", is_flag=True, help="Also run a training worker.")
def up(*, detach: bool, training: bool) -> None:
    """Run Postgres, Redis and workers on this machine, in the foreground or detached."""
    from worker.embedded.stack import EmbeddedStack  # deferred: imports SQLAlchemy and redis

    settings = _embedded_settings()
    _ = settings.catalogue  # the workers would refuse malformed texts
    stack = EmbeddedStack(settings.embedded)
    unused = {"training": not training, "delivery": not settings.needs_delivery_worker}
    kinds = [kind for kind in WORKERS if not unused.get(kind)]
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # SIGTERM stops the services in order, as Ctrl-C does
    with stack.launcher.recorded():
        try:
            stack.start_services()
            stack.migrate()
            stack.start_workers(kinds)
            print_line(f"up: Postgres, Redis and workers ({', '.join(kinds)}); logs in {stack.state.logs}")
            if detach:
                return
            print_line("press Ctrl-C to stop everything")
            _wait_for_signal(stack)
        except BaseException:
            stack.stop()
            raise
        stack.stop()


@command()
def down() -> None:
    """Stop what `triage up` started, and `triage up` itself where it still starts or runs in the foreground."""
    from worker.embedded.stack import EmbeddedStack  # deferred: imports SQLAlchemy and redis

    stack = EmbeddedStack(_embedded_settings().embedded)
    stack.launcher.stop()
    stack.stop()
    print_line("down")


@command()
@json_option
def status(*, as_json: bool) -> None:
    """Show which parts run on this machine."""
    from worker.embedded.stack import EmbeddedStack  # deferred: imports SQLAlchemy and redis

    running = EmbeddedStack(_embedded_settings().embedded).running()
    if as_json:
        from worker.documents.operations import PartDocument  # deferred: imports pydantic

        print_document({name: PartDocument(running=pid is not None, pid=pid) for name, pid in running.items()})
    else:
        print_table(("part", "state"), ((name, f"up, pid {pid}" if pid else "down") for name, pid in running.items()))


@command()
@click.argument("kind", type=click.Choice(list(WORKERS)))
def worker(kind: str) -> NoReturn:
    """Run one worker in the foreground, for containers and service managers."""
    from worker.settings import load_settings  # deferred: imports pydantic-settings

    _ = load_settings().catalogue  # malformed settings and texts are reported here, in one line
    os.execv(sys.executable, celery_command(kind))


@command()
def beat() -> NoReturn:
    """Run beat in the foreground: sweeps, nightly rescoring, nightly purge. Several may run at the same time."""
    from worker.settings import load_settings  # deferred: imports pydantic-settings

    load_settings()
    os.execv(sys.executable, beat_command())


@command()
@click.argument("part", type=click.Choice(PARTS), required=False)
@click.option("--self", "own", is_flag=True, help="Check the worker or beat of this container alone, without a PART.")
@click.option("--ready", is_flag=True, help="With --self: also exit 1 while it starts, or its work does not move.")
@click.option("--stall-seconds", type=SECONDS, default=120, show_default=True)
def health(part: str | None, *, own: bool, ready: bool, stall_seconds: float) -> None:
    """Exit 1 if a part is stalled.

    A part is stalled if work is due or a task waits, and nothing has progressed for --stall-seconds. Exits with 3 if a
    service or the blob store is unavailable.

    With --self: exit 1 if the process that writes TRIAGE_WORKER__HEARTBEAT_FILE has not run for --stall-seconds. This
    needs neither Postgres nor Redis.
    """
    if own == bool(part):
        raise click.UsageError("name a PART, or give --self")
    if ready and not own:
        raise click.UsageError("--ready needs --self")
    problem = _own_problem(stall_seconds, is_ready=ready) if part is None else _problem(part, stall_seconds)
    if problem:
        raise TriageError(problem)
    print_line("healthy")


def _own_problem(stall_seconds: float, *, is_ready: bool) -> str | None:
    from worker.broker.heartbeat_file import find_problem  # deferred: imports structlog
    from worker.settings import load_settings  # deferred: imports pydantic-settings

    path = load_settings().worker.heartbeat_file
    if path is None:
        raise UsageError("--self needs TRIAGE_WORKER__HEARTBEAT_FILE: set it for the worker and for this check")
    return find_problem(path, stall_seconds, is_ready=is_ready)


def _problem(part: str, stall_seconds: float) -> str | None:
    with open_services() as services:
        if part in _USERS_OF_PHOTOS:
            services.photo_store.check()
        return find_stall(services, part, timedelta(seconds=stall_seconds))


@command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=9464, show_default=True)
@click.option("--stall-seconds", type=SECONDS, default=120, show_default=True)
def metrics(host: str, port: int, stall_seconds: float) -> None:
    """Serve metrics of the database, the parts, the blob store and the volumes to Prometheus until stopped.

    A read-only database role is sufficient. Run it where the blob store and the volumes are mounted.
    """
    import structlog  # deferred: takes 20 ms

    from worker.exporter import Exporter  # deferred: imports SQLAlchemy and prometheus_client
    from worker.logging import release  # deferred: imports structlog
    from worker.metrics import serve  # deferred: imports prometheus_client

    ending = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, ending)  # before any thread starts
    with open_services() as services:
        served = serve(host, port, Exporter(services, stall=timedelta(seconds=stall_seconds)))
        log = structlog.get_logger(__name__)
        log.info("part.started", version=release(), kind="metrics", port=served)
        signal.sigwait(ending)


def _embedded_settings() -> "Settings":
    from worker.settings import load_settings  # deferred: imports pydantic-settings

    settings = load_settings()
    if settings.database.url or settings.redis.url:
        raise UsageError(
            "TRIAGE_DATABASE__URL or TRIAGE_REDIS__URL is set, so the embedded services are not used: "
            "unset both, or start each worker with `triage worker`"
        )
    return settings


def _wait_for_signal(stack: "EmbeddedStack") -> None:
    """Returns on Ctrl-C or SIGTERM. Until then it restarts workers that exit, such as those that make no progress.

    Raises:
        TriageError: a worker exited soon after its start.
    """
    from worker.embedded.interrupts import collected_signals  # deferred: with the rest of worker.embedded

    with collected_signals() as received:
        while not received:
            time.sleep(0.5)
            for kind in stack.workers.restart_exited():
                print_line(f"restarted the {kind} worker, which had exited; logs in {stack.state.logs}", err=True)
