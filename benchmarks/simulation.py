"""The burden simulator over a year of a million messages, each with three photos.

    python -m benchmarks.simulation

It needs 5 GB in /var/tmp, and some minutes to write the messages.
"""

import argparse
import statistics
from datetime import UTC, datetime, timedelta

from rich.progress import Progress
from sqlalchemy import text

from benchmarks.clinic import clinic
from benchmarks.history import PHOTOS_PER_MESSAGE, SHADOWED, UNREADABLE, write_history
from benchmarks.rates import seconds
from benchmarks.reports import add_shadow
from triage.domain.reporting import Period
from triage.reports.drift import find_drift
from triage.retakes.policy import RetakePolicy
from triage.retakes.scenario import Scenario
from triage.retakes.simulate import simulate

ROUNDS = 5
_YEAR = timedelta(days=366)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=1_000_000)
    arguments = parser.parse_args()
    now = datetime.now(UTC)
    with clinic() as site:
        verdicts = round(arguments.messages * PHOTOS_PER_MESSAGE * (1 + SHADOWED) * (1 - UNREADABLE))
        engine = site.sessions.kw["bind"]
        shadow = add_shadow(site)
        with Progress() as progress:
            task = progress.add_task("writing messages")
            for done, total in write_history(engine, verdicts, live=site.model, shadow=shadow, until=now, years=1):
                progress.update(task, completed=done, total=total)
        with site.sessions.begin() as session:
            session.execute(
                text("UPDATE model_version SET promoted_at = :at WHERE stage = 'live'"), {"at": now - _YEAR}
            )
        period = Period(now - _YEAR, now)
        scenario = Scenario(threshold=0.4, cooldown_hours=48)
        times = {
            "simulate": lambda: simulate(site.sessions, period, scenario, policy=RetakePolicy()),
            "drift": lambda: find_drift(site.sessions),
        }
        for name, call in times.items():
            found = [seconds(call) for _ in range(ROUNDS)]
            print(f"{name}: median {statistics.median(found):.1f} s, slowest {max(found):.1f} s")


if __name__ == "__main__":
    main()
