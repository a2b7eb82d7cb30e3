"""The console under load: 50 people work through a long queue while a worker drains new messages.

Prints the times of pages, and what the load does to the time from a message to its decision. The worker's scorer does
nothing, so that this time is that of the database, or sleeps for each photo (`--forward`). With `--manager`, one
manager opens the pages about all messages, one after the other.

    python -m benchmarks.console
    python -m benchmarks.console --database postgresql+psycopg://user@host/triage --manager

With `--database` it uses a database of this release, such as one with years of messages, and adds what it needs: the
waiting messages, the people and those that the worker decides.
"""

import argparse
import multiprocessing
import random
import re
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Final

import httpx2
import numpy as np
from rich.console import Console
from rich.table import Table
from sqlalchemy import text

from benchmarks.clinic import Clinic, NothingAssessor, clinic, clinic_over
from benchmarks.http import serve
from benchmarks.rates import seconds
from triage.domain.staff import Role
from triage.scoring.drain import DrainLimits, drain
from triage.staff import accounts

PASSWORD: Final = "correct horse battery staple"  # of a temporary database
_FIELDS: Final = re.compile(r'name="(csrf|form)" value="([0-9a-f-]+)"')

_OF_MANAGERS: Final = (
    "/models",
    "/models/benchmark",
    "/reviews",
    "/runs",
    "/deliveries",
    "/simulator",
    "/drift",
    "/reports",
)

_FILL: Final = """
SET LOCAL session_replication_role = replica;
CREATE TEMPORARY TABLE new ON COMMIT DROP AS
SELECT :run || '-' || number AS name, number, gen_random_uuid() AS id, gen_random_uuid() AS thread,
       gen_random_uuid() AS decision, 'source-' || number % 20 AS source, now() - number * interval '1 minute' AS at
FROM generate_series(1, :n) AS number;
INSERT INTO thread (id, source, external_id) SELECT thread, source, name FROM new;
INSERT INTO message (id, source, external_id, thread_id, role, locale, opted_out, received_at, current_decision_id)
SELECT id, source, name, thread, 'patient', 'und', false, at, decision FROM new;
INSERT INTO attachment (id, message_id, external_id, uri, status, error_code, finished_at)
SELECT gen_random_uuid(), id, 'photo', 'file:///photos/' || number, 'not_assessable', 'corrupt', at FROM new;
INSERT INTO decision (id, message_id, outcome, reason, decided_by, created_at)
SELECT decision, id, 'not_assessable', 'no_readable_photo', 'model', at FROM new;
INSERT INTO waiting_message (message_id, source, state, reason, since)
SELECT id, source, 'not_assessable', 'no_readable_photo', at FROM new
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=200_000, help="messages that wait for a person")
    parser.add_argument("--people", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60, help="of each of the two phases")
    parser.add_argument("--forward", type=float, default=0, metavar="SECONDS", help="of the network for each photo")
    parser.add_argument("--manager", action="store_true", help="a manager looks at reports, too")
    parser.add_argument("--database", metavar="URL", help="use and keep this database instead of a new one")
    arguments = parser.parse_args()
    run = f"run-{time.time_ns()}"  # rows of an earlier run may be in the database
    with clinic_over(arguments.database) if arguments.database else clinic() as site, serve(site, run) as server:
        fill(site, arguments.messages, run)
        people = [(f"{run}-{number}", Role.REVIEWER) for number in range(arguments.people)]
        managers = [(run, Role.MANAGER)] if arguments.manager else []
        for name, role in [*people, *managers]:
            accounts.add(site.sessions, name, role, password=PASSWORD, by="benchmark")
        quiet = decide_for(site, arguments.seconds, arguments.forward)
        context = multiprocessing.get_context("spawn")
        with context.Pool(1) as pool:  # a process of its own: the people take no time from the worker
            names = [[name for name, _ in each] for each in (people, managers)]
            working = pool.apply_async(work, (server.url, *names, arguments.seconds + 20))
            time.sleep(20)  # they log in
            busy = decide_for(site, arguments.seconds, arguments.forward)
            pages = working.get()
    report(pages, quiet, busy)


def fill(site: Clinic, n: int, run: str) -> None:
    """Puts messages into the queue."""
    with site.sessions.begin() as session:
        for statement in _FILL.split(";\n"):
            session.execute(text(statement), {"n": n, "run": run} if ":n" in statement else {})
        session.execute(text("DELETE FROM login_attempt"))  # all people share an address, also those of earlier runs
    with site.sessions.kw["bind"].connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE"))


def decide_for(site: Clinic, duration: float, forward: float) -> list[float]:
    """Sends messages one after another, each decided before the next; returns the seconds that each took."""
    took: list[float] = []
    end = time.monotonic() + duration
    first = time.time_ns()
    while time.monotonic() < end:
        took.append(seconds(partial(_decide, site, first + len(took), forward)))
        time.sleep(0.05)
    return took


def _decide(site: Clinic, number: int, forward: float) -> None:
    site.send_uris(1, 1, bulk=1, first=number)
    assessor = NothingAssessor(site.model, forward)
    drain(site.inbox, lambda: assessor, DrainLimits(photos_per_batch=8, seconds=60))


def work(url: str, people: Sequence[str], managers: Sequence[str], duration: float) -> Mapping[str, Sequence[float]]:
    """People look at the queue, take the oldest message and look at it, with some seconds in between.

    Managers look at one page after the other.
    """
    times: defaultdict[str, list[float]] = defaultdict(list)
    end = time.monotonic() + duration
    with ThreadPoolExecutor(len(people) + len(managers)) as pool:
        working = [pool.submit(_work_as, url, name, end, times) for name in people]
        managing = [pool.submit(_manage_as, url, name, end, times) for name in managers]
        for done in [*working, *managing]:
            done.result()
    return times


def _work_as(url: str, name: str, end: float, times: Mapping[str, list[float]]) -> None:
    with _logged_in(url, name) as client:
        while time.monotonic() < end:
            page = _timed(times["queue"], client, "GET", "/")
            taken = _timed(times["take the oldest"], client, "POST", "/next", data=dict(_FIELDS.findall(page.text)))
            path = taken.headers["location"].removeprefix("/console")
            _timed(times["message"], client, "GET", path)
            time.sleep(random.uniform(2, 4))


def _manage_as(url: str, name: str, end: float, times: Mapping[str, list[float]]) -> None:
    with _logged_in(url, name) as client:
        while time.monotonic() < end:
            for path in _OF_MANAGERS:
                _timed(times[path], client, "GET", path)
                time.sleep(0.5)


@contextmanager
def _logged_in(url: str, name: str) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=f"{url}/console", headers={"Origin": url}, timeout=60, trust_env=False) as client:
        answer = client.post("/login", data={"name": name, "password": PASSWORD})
        assert answer.status_code == 303, answer.status_code
        yield client


def _timed(times: list[float], client: httpx2.Client, method: str, path: str, **options: object) -> httpx2.Response:
    answers: list[httpx2.Response] = []
    times.append(seconds(lambda: answers.append(client.request(method, path, **options))))  # type: ignore[arg-type]
    assert answers[0].status_code in {200, 303}, answers[0].status_code
    return answers[0]


def report(pages: Mapping[str, Sequence[float]], quiet: Sequence[float], busy: Sequence[float]) -> None:
    table = Table("what", "n", "p50, ms", "p95, ms", box=None, pad_edge=False)
    decided = {"message to decision, nobody at the console": quiet, "the same while people work": busy}
    for name, took in {**pages, **decided}.items():
        p50, p95 = np.percentile(np.asarray(took) * 1000, [50, 95])
        table.add_row(name, str(len(took)), f"{p50:.0f}", f"{p95:.0f}")
    Console().print(table)
    ratios = np.percentile(busy, [50, 95]) / np.percentile(quiet, [50, 95])
    print(
        f"with people at work, decisions take {ratios[0]:.2f} times as long in the median, {ratios[1]:.2f} times at p95"
    )


if __name__ == "__main__":
    main()
