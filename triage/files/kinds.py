"""Kinds of files at paths that users give: a path that is too long, or has a NUL or a loop of links, is no file."""

import errno
import os
import stat
from pathlib import Path


def refuse_device(path: Path) -> Path:
    """Returns the path unchanged. Some devices, such as `/dev/zero`, can be read without end and fill the memory.

    A pipe is allowed: it ends, and shells make pipes of `<(command)`.

    Raises:
        OSError: the path is a device, or nothing is there.
    """
    mode = path.stat().st_mode
    if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    return path


def read_regular(path: Path) -> bytes:
    """Reads a file that has a fixed name in a folder. Links are followed.

    Raises:
        OSError: nothing is there, it cannot be read, or it is a pipe or a device, which could block or have no end.
    """
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return file.read()


def is_file(path: Path) -> bool:
    """Whether a path leads to a regular file."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def is_folder(path: Path) -> bool:
    """Whether a path leads to a folder."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False
