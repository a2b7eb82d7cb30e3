"""Photos without labels for a pretraining: of a folder, or of messages."""

from collections.abc import Callable, Iterable
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Final

from sqlalchemy.orm import Session

from triage.blobs.source import Source
from triage.domain.runs import PretrainingParameters
from triage.errors import UsageError
from triage.files.kinds import is_file, is_folder
from triage.imaging.formats import sniff
from triage.storage import unlabelled_photos

_START: Final = 4096
"""Bytes from which the format of a file is recognised."""


def photos_in_folder(folder: Path) -> list[Path]:
    """The files in a folder and below, sorted. Hidden ones are left out.

    Raises:
        UsageError: no such folder, or it cannot be read.
    """
    if not is_folder(folder):
        raise UsageError("photos: no such folder, or no permission to read it: name a folder with photos")
    return [
        path
        for path in sorted(folder.rglob("*"))
        if is_file(path) and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]


def has_photos(files: Iterable[Path], at_least: int) -> bool:
    """Whether enough files begin like a photo. The photos themselves are decoded when the run begins."""
    return len(list(islice(filter(_is_photo, files), at_least))) == at_least


def _is_photo(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return sniff(file.read(_START)) is not None
    except OSError:
        return False


def readers_of(session: Session, parameters: PretrainingParameters, source: Source) -> list[Callable[[], bytes]]:
    """Functions that return the bytes of one photo each, for the worker that pretrains.

    The photos of messages are chosen when the run begins or resumes: forgotten and deleted ones are left out, and each
    photo counts once however often it was sent.

    Raises:
        UsageError: there are no photos.
    """
    readers: list[Callable[[], bytes]]
    if parameters.photos is not None:
        readers = [path.read_bytes for path in photos_in_folder(Path(parameters.photos))]
    else:
        found = unlabelled_photos.newest(session, int(parameters.photos_of_messages or 0))
        readers = [partial(source.fetch, photo) for photo in found]
    if not readers:
        raise UsageError("there are no photos to learn from")
    return readers
