"""`triage demo`: photos of a folder, or drawn ones, sent through the whole product on this machine."""

import io
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import click

from triage.errors import UsageError
from worker.cli.commands import command

_SAMPLE_PHOTOS = 24


@dataclass(frozen=True, slots=True)
class Photo:
    """A photo to send, with the name that the demo shows for it."""

    name: str
    data: bytes


@command()
@click.argument("photos", required=False, type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--all", "take_all", is_flag=True, help=f"Take all photos of the folder, not {_SAMPLE_PHOTOS} of them.")
def demo(photos: Path | None, *, take_all: bool) -> None:
    """Run the main job on this machine: embedded services, a real worker, photos in, verdicts and retakes out.

    PHOTOS is a folder with your own photos; without it the project draws a handful.
    """
    from worker.cli.demonstration import run_demo  # deferred: imports SQLAlchemy, Celery and redis

    run_demo(_messages_from(photos, take_all=take_all) if photos else _drawn_messages())


def _messages_from(folder: Path, *, take_all: bool) -> dict[str, list[Photo]]:
    """The photos of a folder as messages of one, two and three photos in turn."""
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    if not files:
        raise UsageError(f"{folder}: the folder has no files; name a folder with photos")
    if not take_all and len(files) > _SAMPLE_PHOTOS:
        files = files[:: len(files) // _SAMPLE_PHOTOS][:_SAMPLE_PHOTOS]
    photos = [Photo(path.name, _read(path)) for path in files]
    messages: dict[str, list[Photo]] = {}
    for number, size in enumerate(cycle((1, 2, 3)), start=1):
        if not photos:
            break
        messages[f"message-{number}"], photos = photos[:size], photos[size:]
    return messages


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: the file cannot be read") from error


def _drawn_messages() -> dict[str, list[Photo]]:
    from triage.samples.drawing import draw_sample_messages  # deferred: imports pillow

    return {
        message.message_id: [Photo(photo.name, _jpeg(photo.image)) for photo in message.photos]
        for message in draw_sample_messages()
    }


def _jpeg(image: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=92)
    return file.getvalue()
