"""Opening files below a folder that others can write to: no symbolic link leads out of it, even under a race."""

import errno
import os
import stat
from collections.abc import Iterable
from pathlib import Path, PurePath
from typing import BinaryIO

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # opening a named pipe must not block
_NAMES_NO_FILE = {errno.ELOOP, errno.ENAMETOOLONG, errno.ENOTDIR}


def open_below(roots: Iterable[PurePath], path: PurePath) -> BinaryIO | None:
    """Opens a file below one of the roots.

    Symbolic links are resolved first. Then each folder is opened relative to its parent without following links, so a
    link created in between causes an error.

    Returns:
        The open file, or None if its resolved path is not below a resolved root.

    Raises:
        FileNotFoundError, IsADirectoryError: the path names no regular file.
        OSError: the file cannot be read.
    """
    location = Path(os.path.realpath(path))
    for root in roots:
        folder = Path(os.path.realpath(root))
        if location.is_relative_to(folder):
            try:
                return _open_beneath(folder, location.relative_to(folder))
            except OSError as error:
                if error.errno in _NAMES_NO_FILE:
                    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)) from error
                raise
    return None


def _open_beneath(folder: Path, inside: PurePath) -> BinaryIO:
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
