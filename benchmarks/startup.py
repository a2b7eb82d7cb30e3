"""CPU time of short commands, and the heavy modules that each one imports, relative to `python -c pass`.

python -m benchmarks.startup
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from triage.domain.messages import IncomingAttachment, IncomingMessage
from triage.files.hashing import sha256_of
from worker.cli.tables import Column, print_table
from worker.embedded.stack import EmbeddedStack
from worker.services import open_services
from worker.settings import Settings
from worker.state_folder import StateFolder

HEAVY: Final = (
    "torch",
    "torchvision",
    "scipy",
    "matplotlib",
    "numpy",
    "PIL",
    "pydicom",
    "celery",
    "kombu",
    "redis",
    "sqlalchemy",
    "psycopg",
    "alembic",
    "fsspec",
    "jinja2",
    "prometheus_client",
    "structlog",
    "rich.traceback",
    "pydantic_settings",
    "pydantic",
)
TRIAGE: Final = (sys.executable, "-c", "from worker.cli import main; main()")
"""The command line. The installed script differs from this only in how it is found."""

MESSAGE: Final = "m-1"
WITHOUT_SERVICES: Final = (
    ["--version"],
    ["--help"],
    ["report", "--help"],
    ["retakes", "--help"],
    ["train", "--help"],
    ["evaluate", "--help"],
    ["models", "list", "--help"],
)
WITH_DATABASE: Final = (
    ["report"],
    ["explain", MESSAGE],
    ["retakes", "list"],
    ["models", "list"],
    ["runs"],
    ["doctor"],
)


class Cost(NamedTuple):
    cpu_seconds: float
    wall_seconds: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=7, help="runs of each command; the median is shown")
    n_runs = parser.parse_args().runs
    bare = median_cost([sys.executable, "-c", "pass"], os.environ, n_runs)
    rows = [("python -c pass", f"{bare.cpu_seconds:.3f}", "1", f"{bare.wall_seconds:.3f}", "")]
    with embedded_services() as environment:
        for arguments in (*WITHOUT_SERVICES, *WITH_DATABASE):
            cost = median_cost([*TRIAGE, *arguments], environment, n_runs)
            rows.append(
                (
                    " ".join(("triage", *arguments)),
                    f"{cost.cpu_seconds:.3f}",
                    f"{cost.cpu_seconds / bare.cpu_seconds:.0f}",
                    f"{cost.wall_seconds:.3f}",
                    ", ".join(heavy_imports(arguments, environment)),
                )
            )
    print_table(("command", "CPU s", "of a bare start", "wall s", Column("heavy imports", wrap=True)), rows)


def median_cost(command: Sequence[str], environment: Mapping[str, str], n_runs: int) -> Cost:
    """Medians over the runs, after one run that is not counted."""
    costs = [run_cost(command, environment) for _ in range(n_runs + 1)][1:]
    return Cost(
        statistics.median(cost.cpu_seconds for cost in costs), statistics.median(cost.wall_seconds for cost in costs)
    )


def run_cost(command: Sequence[str], environment: Mapping[str, str]) -> Cost:
    """User and system time of one process, as the kernel counts it."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    _, _, usage = os.wait4(process.pid, 0)
    process.returncode = 0  # reaped above
    return Cost(usage.ru_utime + usage.ru_stime, time.perf_counter() - started)


def heavy_imports(arguments: Sequence[str], environment: Mapping[str, str]) -> list[str]:
    """The modules of `HEAVY` that a command imports, in that order."""
    command = [TRIAGE[0], "-X", "importtime", *TRIAGE[1:], *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    imported = {
        line.rpartition("|")[2].strip() for line in ended.stderr.splitlines() if line.startswith("import time:")
    }
    return [name for name in HEAVY if name in imported]


@contextmanager
def embedded_services() -> Iterator[dict[str, str]]:
    """Postgres and Redis with one message; yields the environment of commands that use them."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("TRIAGE_")}
    with tempfile.TemporaryDirectory(prefix="triage-startup-", dir="/var/tmp") as folder:
        Path(folder).chmod(0o711)  # root's Postgres runs as another user, who must be able to enter
        settings = Settings(home=Path(folder) / "state")
        with EmbeddedStack(StateFolder(settings.home)) as stack:
            stack.start_services()
            stack.migrate()
            photo = b"a photo that no worker reads"
            message = IncomingMessage(
                "startup", MESSAGE, [IncomingAttachment(data=photo, external_id=sha256_of(photo))]
            )
            with open_services(settings) as services:
                services.intake.enqueue([message])
            yield {**others, "TRIAGE_HOME": str(settings.home)}


if __name__ == "__main__":
    main()
