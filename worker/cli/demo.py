"""`triage demo`: runs the whole product on this machine, with photos of a folder or drawn ones."""

from pathlib import Path

import click

from worker.cli.commands import command
from worker.cli.demo_photos import SAMPLE_PHOTOS, drawn_messages, messages_from


@command()
@click.argument("photos", required=False, type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--all", "take_all", is_flag=True, help=f"Send all photos of the folder instead of {SAMPLE_PHOTOS}.")
def demo(photos: Path | None, *, take_all: bool) -> None:
    """Run the whole product on this machine: embedded services, a worker, sample photos, verdicts and retakes.

    PHOTOS is a folder with your own photos. By default, a few photos are drawn.
    """
    from worker.cli.demonstration import run_demo  # deferred: imports SQLAlchemy, Celery and redis

    messages, skipped = messages_from(photos, take_all=take_all) if photos else (drawn_messages(), {})
    run_demo(messages, skipped)
