"""Messages for `triage demo`: photos of a folder, or drawn photos."""

import io
from collections import Counter
from dataclasses import dataclass
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
    """Each photo of a folder as one message: files of a folder need not show the same skin.

    Returns:
        The photos by message, and the numbers of entries left out by reason.
    """
    files, skipped = photos_in(folder)
    if not files:
        raise UsageError(f"{folder}: the folder has no files: name a folder with photos")
    if not take_all and len(files) > SAMPLE_PHOTOS:
        skipped["not in the sample (--all sends them)"] = len(files) - SAMPLE_PHOTOS
        files = files[:: len(files) // SAMPLE_PHOTOS][:SAMPLE_PHOTOS]
    messages = {f"message-{number}": [Photo(path.name, _read(path))] for number, path in enumerate(files, start=1)}
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
