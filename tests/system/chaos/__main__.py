"""`make chaos`: injects every fault into real processes and prints a table of the results."""

import json
import sys
import time
import traceback
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from tests.system.chaos import clocks
from tests.system.chaos.faults import FAULTS, FULL, SHORT, Row, inflict

_CAPTION = (
    "Real Postgres, Redis, Celery workers and beats as processes; photos are decoded and measured. The network is "
    "replaced: it measures brightness in 10 ms a photo. Leases last 8 s, and sweeps run every second. "
    "'Recover': the longest time from the end of a fault to the next result. "
    "'Parked': readable photos that were given to staff because their scorers were killed too often."
)


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(list(FAULTS)))
@click.option("--short", is_flag=True, help="Use few photos and short outages.")
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Also write the table to this file.")
def chaos(names: tuple[str, ...], *, short: bool, seed: int, json_file: Path | None) -> None:
    """Inject all faults, or those named, and check that nothing is lost or doubled."""
    rows: list[Row] = []
    broken: list[str] = []
    for name in names or [name for name in FAULTS if name != "clocks" or clocks.can_shift()]:
        click.echo(f"{time.strftime('%H:%M:%S')} {name}", err=True)
        try:
            rows.append(inflict(name, SHORT if short else FULL, seed=seed))
        except Exception:
            traceback.print_exc()
            broken.append(name)
        if json_file is not None:
            json_file.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n", encoding="utf-8")
    _print(rows)
    broken += [row.fault for row in rows if not row.holds]
    if broken:
        click.echo(f"broken: {', '.join(broken)}", err=True)
        sys.exit(1)


def _print(rows: list[Row]) -> None:
    table = Table(box=None, header_style="bold", pad_edge=False, caption=_CAPTION, caption_justify="left")
    table.add_column("fault")
    for column in ("times", "attachments", "lost", "doubled", "parked", "seconds to recover", "seconds in all"):
        table.add_column(column, justify="right")
    for row in rows:
        recover = "-" if row.seconds_to_recover is None else f"{row.seconds_to_recover:.1f}"
        counts = (row.times, row.checked.attachments, row.checked.lost, row.checked.doubled, row.checked.parked)
        table.add_row(row.title, *map(str, counts), recover, f"{row.seconds:.0f}")
    Console(width=120).print(table)


if __name__ == "__main__":
    chaos()
