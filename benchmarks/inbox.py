"""Throughput of intake and of claim, record and decide, relative to a bare `INSERT` loop.

The scorer does nothing, every photo is bad and every message flags a retake request.

    python -m benchmarks.inbox
"""

import argparse
from functools import partial

from sqlalchemy import text

from benchmarks.clinic import Clinic, NothingAssessor, clinic
from benchmarks.rates import seconds, show
from triage.scoring.drain import DrainLimits, drain

BARE = "bare INSERT loop"
PHOTOS_PER_MESSAGE = 4
MESSAGES_PER_CALL = 500
PHOTOS_PER_BATCH = 512


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=5_000, help="messages of four photos in each round")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    rates: dict[str, list[float]] = {BARE: [], "intake": [], "claim, record, decide": []}
    n_photos = arguments.messages * PHOTOS_PER_MESSAGE
    with clinic() as site:
        prepare_bare_table(site)
        for number in range(arguments.rounds):
            first = number * arguments.messages
            rates[BARE].append(n_photos / seconds(partial(insert_rows, site, n_photos)))
            send = partial(site.send_uris, arguments.messages, PHOTOS_PER_MESSAGE, bulk=MESSAGES_PER_CALL, first=first)
            rates["intake"].append(n_photos / seconds(send))
            rates["claim, record, decide"].append(n_photos / seconds(partial(drain_all, site, n_photos)))
    show(rates, reference=BARE, columns=("step", "attachments/s, median", "of the bare loop"))


def prepare_bare_table(site: Clinic) -> None:
    with site.sessions.begin() as session:
        session.execute(text("CREATE TABLE bare (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), uri text NOT NULL)"))


def insert_rows(site: Clinic, n: int) -> None:
    """The reference: one row per statement, one commit per intake call."""
    rows_per_commit = MESSAGES_PER_CALL * PHOTOS_PER_MESSAGE
    with site.sessions.kw["bind"].connect() as connection:
        cursor = connection.connection.cursor()
        for number in range(n):
            cursor.execute("INSERT INTO bare (uri) VALUES (%s) RETURNING id", (f"file:///photos/{number}.jpg",))
            cursor.fetchone()
            if number % rows_per_commit == rows_per_commit - 1:
                cursor.connection.commit()
        cursor.connection.commit()


def drain_all(site: Clinic, n: int) -> None:
    assessor = NothingAssessor(site.model)
    drained = drain(site.inbox, lambda: assessor, DrainLimits(PHOTOS_PER_BATCH, seconds=600))
    if (drained.recorded.scored, drained.recorded.flagged) != (n, n // PHOTOS_PER_MESSAGE):
        raise SystemExit(f"expected {n} photos scored and every message flagged, got {drained.recorded}")


if __name__ == "__main__":
    main()
