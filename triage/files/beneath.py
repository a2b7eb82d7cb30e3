"""Files below a folder that others may write to: no link leads out of it, whatever changes while it is opened."""

import os
import stat
from collections.abc import Iterable
from pathlib import Path, PurePath
from typing import BinaryIO

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # a pipe must not hold the reader up


def open_below(roots: Iterable[PurePath], path: PurePath) -> BinaryIO | None:
    """Opens a file, or returns None where it lies below none of the roots once links are resolved.

    Links are resolved first; then each folder is opened from the one above, following none, so that a link put there
    in between is an error and not a way out.

    Raises:
        OSError: it is not there, is no plain file, or cannot be read.
    """
    place = Path(os.path.realpath(path))
    for root in roots:
        folder = Path(os.path.realpath(root))
        if place.is_relative_to(folder):
            return _walk(folder, place.relative_to(folder))
    return None


def _walk(folder: Path, inside: PurePath) -> BinaryIO:
    if not inside.parts:
        raise IsADirectoryError
    here = os.open(folder, _FOLDER)
    try:
        for part in inside.parts[:-1]:
            below = os.open(part, _FOLDER, dir_fd=here)
            os.close(here)
            here = below
        file = os.open(inside.name, _FILE, dir_fd=here)
    finally:
        os.close(here)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise IsADirectoryError
    return os.fdopen(file, "rb")
