"""`triage demo`: photos of a folder, or drawn ones, sent through the whole product on this machine."""

from pathlib import Path

import click

from worker.cli.commands import command
from worker.cli.demo_photos import SAMPLE_PHOTOS, drawn_messages, messages_from


@command()
@click.argument("photos", required=False, type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--all", "take_all", is_flag=True, help=f"Take all photos of the folder, not {SAMPLE_PHOTOS} of them.")
def demo(photos: Path | None, *, take_all: bool) -> None:
    """Run the main job on this machine: embedded services, a real worker, photos in, verdicts and retakes out.

    PHOTOS is a folder with your own photos; without it the project draws a handful.
    """
    from worker.cli.demonstration import run_demo  # deferred: imports SQLAlchemy, Celery and redis

    run_demo(messages_from(photos, take_all=take_all) if photos else drawn_messages())
