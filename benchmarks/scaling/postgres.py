"""What scoring costs in Postgres with 1, 2, 4 and 8 workers whose network sleeps, directly and through PgBouncer.

    python -m benchmarks.scaling.postgres --json postgres.json
    python -m benchmarks.scaling.postgres --workers 8 --arriving 500 --seconds 30

Claims, verdicts, decisions and retake requests are those of the product. There are neither photos nor Celery, so that a
machine of few cores reaches the rates of several GPUs. The inbox is filled before each measurement. CPU time per photo
says how many photos per second a core of Postgres can take, whatever this machine is.
"""

import argparse
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from rich.console import Console
from rich.table import Table
from sqlalchemy import text

from benchmarks.clinic import Clinic, clinic
from benchmarks.scaling.counters import Counters, cpu_seconds, waits
from benchmarks.scaling.noop_worker import Load, Work, score
from tests.support.pgbouncer import pgbouncer, pooled_url
from triage.storage import inbox as queue
from triage.storage.database import create_database_engine, engine_of
from worker.state_folder import StateFolder

PHOTOS_PER_MESSAGE = 5
POOL = "default_pool_size = 20"
_SENDERS = 4


@dataclass(frozen=True, slots=True)
class Arriving:
    """What is sent while workers score."""

    photos_per_second: int
    messages_per_call: int


class Site:
    """A database, its server and an inbox that is filled as needed."""

    def __init__(self, clinic_: Clinic) -> None:
        self.clinic = clinic_
        self.state = StateFolder(clinic_.folder / "state")
        self.url = self.state.database_url()
        self.engine = engine_of(clinic_.sessions)
        [pid, *_] = (self.state.postgres_data / "postmaster.pid").read_text(encoding="ascii").split()
        self.server = psutil.Process(int(pid))
        self._first = 0

    def fill(self, photos: int) -> None:
        """Fills the inbox up to this number of photos."""
        with self.clinic.sessions() as session:
            missing = photos - queue.count_open(session)
        if missing > 0:
            n = -(-missing // PHOTOS_PER_MESSAGE)
            self.clinic.send_uris(n, PHOTOS_PER_MESSAGE, bulk=500, first=self.take(n))
        with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("VACUUM ANALYZE"))
            connection.execute(text("CHECKPOINT"))

    def take(self, n: int) -> int:
        """Reserves n numbers of messages and returns the first."""
        self._first += n
        return self._first - n


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--batch", type=int, default=64, help="photos per batch: 64 on a GPU, 4 on a CPU")
    parser.add_argument("--forward", type=float, default=0.008, help="seconds per photo of the network that sleeps")
    parser.add_argument("--seconds", type=float, default=10, help="of each measurement")
    parser.add_argument("--arriving", type=int, default=0, help="photos per second that are sent at the same time")
    parser.add_argument("--bulk", type=int, default=1, help="messages of these in one call")
    parser.add_argument("--direct", action="store_true", help="leave out PgBouncer, a package of Debian")
    parser.add_argument("--json", type=Path, help="file for the results")
    arguments = parser.parse_args()
    load = Load(arguments.batch, arguments.forward, arguments.seconds)
    arriving = Arriving(arguments.arriving, arguments.bulk)
    with clinic() as started:
        site = Site(started)
        result: dict[str, Any] = {"load": str(load), "intake": intake(site)}
        result["direct"] = {n: measure(site, site.url, load, n, arriving) for n in arguments.workers}
        if not arguments.direct:
            with pgbouncer(site.state, "transaction", "ignore_startup_parameters = options", POOL) as folder:
                [pooler] = [each for each in psutil.Process().children() if each.name() == "pgbouncer"]
                url = pooled_url(site.url, folder)
                result["pgbouncer"] = {n: measure(site, url, load, n, arriving, pooler) for n in arguments.workers}
    show(result, load)
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def intake(site: Site, messages: int = 400) -> dict[str, dict[str, float]]:
    """The cost per photo of messages that arrive one by one, four at a time, and of messages that arrive in bulk."""
    send = site.clinic.send_uris

    def singly() -> None:
        first = site.take(messages)
        with ThreadPoolExecutor(4) as threads:
            for number in range(first, first + messages):
                threads.submit(send, 1, PHOTOS_PER_MESSAGE, bulk=1, first=number)

    def in_bulk() -> None:
        send(messages, PHOTOS_PER_MESSAGE, bulk=messages, first=site.take(messages))

    return {name: _intake(site, messages, step) for name, step in {"singly": singly, "in bulk": in_bulk}.items()}


def _intake(site: Site, messages: int, step: Callable[[], None]) -> dict[str, float]:
    before, own, started = Counters.read(site.engine, site.server), _own_cpu_seconds(), time.perf_counter()
    step()
    photos, seconds = messages * PHOTOS_PER_MESSAGE, time.perf_counter() - started
    sender = (_own_cpu_seconds() - own) / photos
    site.engine.dispose()
    time.sleep(1)
    cost = Counters.read(site.engine, site.server).since(before, photos)
    return {"photos_per_second": photos / seconds, "sender_cpu_seconds": sender, **cost}


def _own_cpu_seconds() -> float:
    times = psutil.Process().cpu_times()
    return float(times.user + times.system)


def measure(
    site: Site, url: str, load: Load, n_workers: int, arriving: Arriving, pooler: psutil.Process | None = None
) -> dict[str, Any]:
    """Lets workers score the inbox through a URL while photos arrive. Durations are in ms, costs per scored photo."""
    site.fill(int(n_workers * (load.seconds / load.seconds_per_photo + 4 * load.photos_per_batch)))
    seen: Counter[str] = Counter()
    direct = create_database_engine(site.url, pool_size=1)
    per_call = arriving.messages_per_call
    n_messages = per_call * int(arriving.photos_per_second * load.seconds / PHOTOS_PER_MESSAGE / per_call)
    calls = range(first := site.take(n_messages), first + n_messages, per_call)
    with workers(url, load, n_workers) as (start, works), ThreadPoolExecutor(_SENDERS) as senders:
        before = Counters.read(direct, site.server)
        pooler_before = cpu_seconds(pooler) if pooler else 0.0
        start.wait()
        until = time.monotonic() + load.seconds
        sent = [senders.submit(_send, site, calls[n::_SENDERS], per_call, until) for n in range(_SENDERS)]
        while time.monotonic() < until:
            time.sleep(0.1)
            seen += waits(direct)
        work = [works.get(timeout=120) for _ in range(n_workers)]
    time.sleep(1)
    photos = sum(each.photos for each in work)
    cost = Counters.read(direct, site.server).since(before, photos)
    direct.dispose()
    return {
        "photos": photos,
        "photos_per_second": photos / max(each.seconds for each in work),
        "arrived_per_second": sum(each.result() for each in sent) * PHOTOS_PER_MESSAGE / load.seconds,
        "ms": {kind: _percentiles(work, kind) for kind in ("model", "claim", "record")},
        "worker_cpu_seconds": sum(each.cpu_seconds for each in work) / photos,
        "pooler_cpu_seconds": ((cpu_seconds(pooler) - pooler_before) / photos) if pooler else 0.0,
        **cost,
        "statements": dict(seen.most_common()),
    }


def _send(site: Site, calls: Sequence[int], messages: int, until: float) -> int:
    """Sends messages evenly until a time, or as fast as it can, each call from a first number. Returns their number."""
    pause = (until - time.monotonic()) / max(len(calls), 1)
    due = time.monotonic()
    for done, first in enumerate(calls):
        if time.monotonic() >= until:
            return done * messages
        site.clinic.send_uris(messages, PHOTOS_PER_MESSAGE, bulk=messages, first=first)
        due += pause
        time.sleep(max(due - time.monotonic(), 0))
    return len(calls) * messages


@contextmanager
def workers(url: str, load: Load, n: int) -> Iterator[tuple[Barrier, "Queue[Work]"]]:
    """Starts workers that are ready. Yields what starts them all at once, and the queue of what they did."""
    context = get_context("spawn")
    start = context.Barrier(n + 1)
    works: Queue[Work] = context.Queue()
    started: list[BaseProcess] = [
        context.Process(target=_run, args=(url, load, start, works), daemon=True) for _ in range(n)
    ]
    for process in started:
        process.start()
    while start.n_waiting < n:
        if any(process.exitcode for process in started):
            raise SystemExit("a worker has failed")
        time.sleep(0.1)
    yield start, works
    for process in started:
        process.join()


def _run(url: str, load: Load, start: Barrier, works: "Queue[Work]") -> None:
    works.put(score(url, load, start))


def _percentiles(work: Sequence[Work], kind: str) -> dict[str, float]:
    durations = np.concatenate([each.transactions[kind] for each in work])
    p50, p95, p99 = np.percentile(durations, [50, 95, 99])
    return {"p50": float(p50), "p95": float(p95), "p99": float(p99), "n": len(durations)}


def show(result: dict[str, Any], load: Load) -> None:
    console = Console(width=160)
    for way, cost in result["intake"].items():
        print(
            f"intake {way}: {cost['photos_per_second']:.0f} photos/s; per photo: Postgres "
            f"{1000 * cost['cpu_seconds']:.2f} ms, sender {1000 * cost['sender_cpu_seconds']:.2f} ms, "
            f"{cost['wal_bytes']:.0f} bytes of WAL, {cost['fsyncs']:.2f} fsyncs"
        )
    table = Table(
        *("way", "workers", "sent/s", "photos/s", "of the devices"),
        *("claim p50, ms", "p95", "p99", "record p50, ms", "p95", "p99"),
        *("Postgres, CPU ms/photo", "workers", "pooler", "WAL bytes/photo", "fsyncs", "transactions"),
        box=None,
    )
    for way in ("direct", "pgbouncer"):
        for n, found in result.get(way, {}).items():
            rate, ms = found["photos_per_second"], found["ms"]
            table.add_row(
                *(
                    way,
                    str(n),
                    f"{found['arrived_per_second']:.0f}",
                    f"{rate:.0f}",
                    f"{rate * load.seconds_per_photo / n:.2f}",
                ),
                *(f"{ms[kind][p]:.1f}" for kind in ("claim", "record") for p in ("p50", "p95", "p99")),
                *(f"{1000 * found[f'{who}cpu_seconds']:.2f}" for who in ("", "worker_", "pooler_")),
                *(
                    f"{found[name]:.{digits}f}"
                    for name, digits in {"wal_bytes": 0, "fsyncs": 3, "transactions": 3}.items()
                ),
            )
    console.print(table)
    for way in ("direct", "pgbouncer"):
        for n, found in result.get(way, {}).items():
            print(way, n, found["statements"])


if __name__ == "__main__":
    main()
