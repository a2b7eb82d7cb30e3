"""Messages for `triage demo`: photos of a folder, or drawn photos."""

import io
from collections import Counter
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

from triage.errors import UsageError
from worker.cli.score import photos_in

SAMPLE_PHOTOS = 24


@dataclass(frozen=True, slots=True)
class Photo:
    """A photo to send, with the name that the demo shows for it."""

    name: str
    data: bytes


def messages_from(folder: Path, *, take_all: bool) -> tuple[dict[str, list[Photo]], Counter[str]]:
    """The photos of a folder as messages of one, two and three photos in turn.

    Returns:
        The photos by message, and the numbers of entries left out by reason.
    """
    files, skipped = photos_in(folder)
    if not files:
        raise UsageError(f"{folder}: the folder has no files: name a folder with photos")
    if not take_all and len(files) > SAMPLE_PHOTOS:
        skipped["not in the sample (--all sends them)"] = len(files) - SAMPLE_PHOTOS
        files = files[:: len(files) // SAMPLE_PHOTOS][:SAMPLE_PHOTOS]
    photos = [Photo(path.name, _read(path)) for path in files]
    messages: dict[str, list[Photo]] = {}
    for number, size in enumerate(cycle((1, 2, 3)), start=1):
        if not photos:
            break
        messages[f"message-{number}"], photos = photos[:size], photos[size:]
    return messages, skipped


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: the file cannot be read: check its permissions") from error


def drawn_messages() -> dict[str, list[Photo]]:
    """Drawn sample photos as messages."""
    from triage.samples.drawing import draw_sample_messages  # deferred: imports pillow

    return {
        message.message_id: [Photo(photo.name, _jpeg(photo.image)) for photo in message.photos]
        for message in draw_sample_messages()
    }


def _jpeg(image: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=92)
    return file.getvalue()
