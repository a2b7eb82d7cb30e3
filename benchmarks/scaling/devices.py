"""Scaling of the worker: several workers on simulated devices, and a rescoring of 100,000 photos.

    python -m benchmarks.scaling.devices --json scaling.json

The device sleeps, so a machine of few cores can simulate several GPUs. Intake, Redis, Postgres, Celery, fetching,
decoding, findings and decisions are real.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table
from sqlalchemy import text

from benchmarks.clinic import NothingAssessor, draw_jpegs, make_card
from benchmarks.contenders.simulated import VARIABLE
from triage.domain.messages import IncomingAttachment, IncomingMessage
from triage.domain.runs import Run
from triage.model.artifact import write_artifact
from triage.scoring.drain import DrainLimits, drain
from triage.scoring.start import start_rescoring
from triage.storage import model_versions as models
from triage.storage import runs
from worker.commands import celery_command
from worker.embedded.stack import EmbeddedStack
from worker.services import Services
from worker.settings import IntakeSettings, Settings

ROOT = Path(__file__).resolve().parents[2]
PHOTOS_PER_MESSAGE = 5
SHOWN = 10


class Site:
    """The product over temporary services, with any number of scoring workers."""

    def __init__(self, folder: Path) -> None:
        self._photos = folder / "photos"
        self._photos.mkdir()
        self._folder = folder
        settings = Settings(home=folder / "state", intake=IntakeSettings(uri_roots=(self._photos.as_uri(),)))
        self.stack = EmbeddedStack(settings.embedded)
        self.services = Services(settings)
        self._numbers = count()

    def __enter__(self) -> "Site":
        self.stack.start_services()
        self.stack.migrate()
        self.stack.state.prepare()
        self.add_model("first")
        self.services.registry.promote("first", actor="benchmark")
        return self

    def __exit__(self, *_: object) -> None:
        self.services.close()
        self.stack.stop()

    def add_model(self, name: str) -> None:
        write_artifact(self._folder / name, make_card(name), name.encode())
        self.services.registry.add_folder(self._folder / name, actor="benchmark")

    def write_photos(self, side: int) -> list[str]:
        uris = []
        for number, data in enumerate(draw_jpegs(20, side)):
            path = self._photos / f"{side}-{number}.jpg"
            path.write_bytes(data)
            uris.append(path.as_uri())
        return uris

    def send(self, uris: Sequence[str], n_messages: int, photos: int = PHOTOS_PER_MESSAGE) -> None:
        def message(number: int) -> IncomingMessage:
            chosen = [uris[(number * photos + index) % len(uris)] for index in range(photos)]
            return IncomingMessage("benchmark", f"m{number}", [IncomingAttachment(uri=uri) for uri in chosen])

        for start in range(0, n_messages, 500):
            n = min(500, n_messages - start)
            self.services.intake.enqueue([message(next(self._numbers)) for _ in range(n)])

    def query(self, sql: str) -> Any:
        with self.services.sessions() as session:
            return session.execute(text(sql)).one()

    def wait(self) -> None:
        """Waits until all messages are decided. The query uses an index, since it competes with scoring for cores."""
        while self.query("SELECT EXISTS (SELECT FROM message WHERE current_decision_id IS NULL)")[0]:
            time.sleep(0.05)

    @contextmanager
    def workers(self, n: int, seconds_per_photo: float, photos_per_batch: int = 4) -> Iterator[list[psutil.Process]]:
        """Starts scoring workers, and one that sweeps."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("TRIAGE_")} | {
            "TRIAGE_HOME": str(self.stack.state.root),
            "TRIAGE_INTAKE__URI_ROOTS": json.dumps([self._photos.as_uri()]),
            "TRIAGE_SCORER__THREADS": "1",
            "TRIAGE_SCORER__DECODE_THREADS": "1",
            "TRIAGE_SCORER__PHOTOS_PER_BATCH": str(photos_per_batch),
            VARIABLE: str(seconds_per_photo),
        }
        started = [self._start(kind, environment) for kind in (*(f"scoring-{number}" for number in range(n)), "intake")]
        try:
            yield [psutil.Process(process.pid) for process in started[:-1]]
        finally:
            for process in started:
                process.terminate()
            for process in started:
                process.wait(30)

    def _start(self, name: str, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
        kind = name.partition("-")[0]
        command = celery_command(kind, beat=kind == "intake")
        command[command.index("--hostname") + 1] = f"{name}@%h"
        command[command.index("--app") + 1] = "benchmarks.contenders.simulated"
        with (self._folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=ROOT)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--photos", type=int, default=400, help="photos of 500 x 500 pixels per number of workers")
    parser.add_argument("--seconds", type=float, default=0.1, help="seconds per photo of the simulated device")
    parser.add_argument("--rescored", type=int, default=100_000, help="photos of 120 x 120 pixels for two workers")
    parser.add_argument("--json", type=Path, help="file for the results")
    arguments = parser.parse_args()
    folder = Path(
        tempfile.mkdtemp(prefix="triage-benchmark-", dir="/var/tmp")
    )  # readable by Postgres when started by root
    folder.chmod(0o711)
    try:
        with Site(folder) as site:
            rates = {n: scale(site, n, arguments.photos, arguments.seconds) for n in arguments.workers}
            result = {"photos_per_second": rates, "rescoring": rescore(site, arguments.rescored)}
    finally:
        shutil.rmtree(folder)
    show(result, arguments.seconds)
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def scale(site: Site, n_workers: int, n_photos: int, seconds_per_photo: float) -> float:
    """Photos per second, from the enqueueing call to the last decision."""
    uris = site.write_photos(500)
    with site.workers(n_workers, seconds_per_photo):
        site.send(uris, 4 * n_workers)  # loads the model in each worker
        site.wait()
        started = time.perf_counter()
        site.send(uris, n_photos // PHOTOS_PER_MESSAGE)
        site.wait()
        return n_photos / (time.perf_counter() - started)


def rescore(site: Site, n_photos: int) -> dict[str, Any]:
    """Lets two workers rescore photos while single messages arrive."""
    uris = site.write_photos(120)
    site.send(uris, n_photos // PHOTOS_PER_MESSAGE)
    with site.services.sessions.begin() as session:
        live = models.live(session)
    assert live is not None
    drain(site.services.inbox, lambda: NothingAssessor(live.id), DrainLimits(512, seconds=3600))
    site.add_model("second")
    with site.workers(2, 0, photos_per_batch=32) as workers:
        site.send(uris, 50)  # loads the model in each worker
        site.wait()
        run = start_rescoring(site.services.sessions, model="second", actor="benchmark")
        points, waits = [], []
        while True:
            with site.services.sessions() as session:
                now = runs.find(session, run.id)
            if now.started_at is not None:
                points.append(look(now, workers))
            if now.finished_at is not None:
                break
            waits.append(latency(site, uris))
            time.sleep(1)
        cpu_seconds = [cpu(worker) for worker in workers]
    return {"progress": now.progress, "points": points, "wait_ms": waits, "cpu_seconds": cpu_seconds}


def look(run: Run, workers: Sequence[psutil.Process]) -> dict[str, Any]:
    """Progress of a run and memory of its workers."""
    assert run.started_at is not None
    return {
        "seconds": (datetime.now(UTC) - run.started_at).total_seconds(),
        "share": run.progress["scored"] / run.progress["total"],  # type: ignore[operator]  # numbers
        "seconds_left": run.progress["seconds_left"],
        "memory_mb": [sum(p.memory_info().rss for p in family(worker)) / 2**20 for worker in workers],
    }


def latency(site: Site, uris: Sequence[str]) -> float:
    """Milliseconds from enqueueing a message of one photo to its decision."""
    started = time.perf_counter()
    site.send(uris, 1, photos=1)
    site.wait()
    return 1000 * (time.perf_counter() - started)


def cpu(worker: psutil.Process) -> float:
    return sum(process.cpu_times().user + process.cpu_times().system for process in family(worker))


def family(worker: psutil.Process) -> list[psutil.Process]:
    return [worker, *worker.children(recursive=True)]


def show(result: dict[str, Any], seconds_per_photo: float) -> None:
    console = Console()
    rates = result["photos_per_second"]
    least = min(rates)
    table = Table("workers", f"of {least}", "of the devices' limit", box=None, pad_edge=False)
    for n, rate in rates.items():
        table.add_row(str(n), f"{rate / rates[least]:.2f}", f"{rate * seconds_per_photo / n:.2f}")
    console.print(table)

    rescoring = result["rescoring"]
    points, waits = rescoring["points"], sorted(rescoring["wait_ms"])
    took = points[-1]["seconds"]
    print(
        f"\nrescored {rescoring['progress']['scored']:,} of {rescoring['progress']['total']:,} photos by two workers,"
    )
    print(f"CPU time {' and '.join(f'{seconds:.0f}' for seconds in rescoring['cpu_seconds'])} s")
    table = Table("share done", "time left, estimate / actual", "memory of each worker, MB", box=None, pad_edge=False)
    for point in points[1 :: max(1, len(points) // SHOWN)]:
        left = took - point["seconds"]
        table.add_row(
            f"{point['share']:.2f}",
            f"{point['seconds_left'] / left:.2f}" if left and point["seconds_left"] is not None else "",
            ", ".join(f"{megabytes:.0f}" for megabytes in point["memory_mb"]),
        )
    console.print(table)
    p50, p99 = statistics.median(waits), waits[int(0.99 * len(waits))]
    print(f"a message during rescoring: {p50:.0f} ms (p50), {p99:.0f} ms (p99), n = {len(waits)}")


if __name__ == "__main__":
    main()
