"""Permissions of the files and folders that the product makes, whatever the umask of the process.

Only the user of the process can use them, or also one group: then commands of root and the workers of a service, which
run as another user, can read, change and delete each other's files. Files that a person names, such as a report, follow
the umask.
"""

import errno
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_PRIVATE_FILE: Final = 0o600
_PRIVATE_FOLDER: Final = 0o700
_SHARED_FILE: Final = 0o660
_SHARED_FOLDER: Final = 0o2770  # what is made in the folder belongs to its group


@dataclass(slots=True)
class _Process:
    group: int | None = None


_process: Final = _Process()  # like the umask, one for the process


def share_with(group: int | None) -> None:
    """Sets the group that can use the files and folders which this process makes from now on.

    Args:
        group: its number; None for no group.
    """
    _process.group = group


def make_folder(folder: Path) -> None:
    """Makes a folder, whose parent exists. An existing folder keeps its permissions.

    Raises:
        OSError: the folder cannot be made, or this user is not a member of the group.
    """
    try:
        folder.mkdir(mode=_PRIVATE_FOLDER)
    except FileExistsError as error:
        if not folder.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)) from error
    else:
        grant(folder)


def opener(path: str, flags: int) -> int:
    """Opens a file for the built-in `open`, which makes it with the permissions above.

    Raises:
        OSError: the file cannot be opened, or this user is not a member of the group.
    """
    file = os.open(path, flags, _PRIVATE_FILE)
    try:
        grant(file)
    except OSError:
        os.close(file)
        raise
    return file


def grant(made: Path | int) -> None:
    """Gives the permissions above to a file or folder that another library has made.

    Raises:
        OSError: it belongs to another user, or this user is not a member of the group.
    """
    status, group = os.stat(made), _process.group  # noqa: PTH116  # also takes a descriptor
    is_folder = stat.S_ISDIR(status.st_mode)
    if group is None:
        mode = _PRIVATE_FOLDER if is_folder else _PRIVATE_FILE
    else:
        mode = _SHARED_FOLDER if is_folder else _SHARED_FILE
        if status.st_gid != group:
            os.chown(made, -1, group)
    if stat.S_IMODE(status.st_mode) != mode:
        os.chmod(made, mode)  # noqa: PTH101


def is_shared(status: os.stat_result) -> bool:
    """Whether something belongs to the group that `share_with` set."""
    return _process.group is not None and status.st_gid == _process.group
