"""Files and folders that the user of the workers cannot use, such as those that another user made."""

import os
import pwd
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_SECONDS: Final = 10.0  # millions of photos on a slow volume: then a part of the folder is examined


@dataclass(frozen=True, slots=True)
class _User:
    uid: int
    groups: frozenset[int]

    def may(self, status: os.stat_result, bits: int) -> bool:
        shift = 6 if status.st_uid == self.uid else 3 if status.st_gid in self.groups else 0
        return self.uid == 0 or (status.st_mode >> shift) & bits == bits


def count_out_of_reach(top: Path, *, seconds: float = _SECONDS) -> int:
    """Counts the files and folders below a folder that cannot be read or deleted.

    Args:
        top: the folder; 0 if it does not exist, 1 if it lies behind one that this user cannot enter.
        seconds: time limit, after which the rest is not examined.

    Returns:
        The number for this user. For root, who can use every file, the number for the owner of the folder, or for the
        members of its group if root owns it and the group can write to it.
    """
    try:
        status = top.stat()
    except (FileNotFoundError, NotADirectoryError):
        return 0
    except PermissionError:
        return 1
    user = _user_of(status)
    end = time.monotonic() + seconds
    return sum(1 for reachable in _examine(os.fspath(top), status, user, end) if not reachable)


def _user_of(top: os.stat_result) -> _User:
    if os.geteuid() != 0:
        return _User(os.geteuid(), frozenset([os.getegid(), *os.getgroups()]))
    if top.st_uid == 0:
        return _User(-1 if top.st_mode & stat.S_IWGRP else 0, frozenset([top.st_gid]))
    try:
        owner = pwd.getpwuid(top.st_uid)
        return _User(owner.pw_uid, frozenset(os.getgrouplist(owner.pw_name, owner.pw_gid)))
    except KeyError:  # a user of a container
        return _User(top.st_uid, frozenset([top.st_gid]))


def _examine(folder: str, status: os.stat_result, user: _User, end: float) -> Iterator[bool]:
    """Yields for the folder and for everything in it whether the user can read and delete it."""
    usable = user.may(status, 0o7)
    yield usable
    if not usable or not stat.S_ISDIR(status.st_mode) or time.monotonic() > end:
        return
    is_sticky = bool(status.st_mode & stat.S_ISVTX) and user.uid not in {0, status.st_uid}
    with os.scandir(folder) as entries:
        for entry in entries:
            try:
                inner = entry.stat(follow_symlinks=False)
                if entry.is_dir(follow_symlinks=False):
                    yield from _examine(entry.path, inner, user, end)
                else:
                    yield user.may(inner, 0o4) and not (is_sticky and inner.st_uid != user.uid)
            except FileNotFoundError:  # deleted since
                continue
            except PermissionError:
                yield False
