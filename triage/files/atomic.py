"""Atomic, durable writes of files."""

import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO
from uuid import uuid4

from triage.files.modes import grant, make_folder, opener


def write_durably(path: Path, data: bytes, *, follow_umask: bool = False) -> None:
    """Writes a file atomically: after a crash at any point, the file is complete on the disk or unchanged.

    An interrupted write can leave a file whose name ends in `.part`.

    Args:
        path: the file. Missing folders are created.
        data: its content.
        follow_umask: for files that a person asked for; other files and folders get the permissions of `modes`.

    Raises:
        OSError: the file cannot be written.
    """
    make_folders(path.parent, follow_umask=follow_umask)
    part = path.with_name(f"{path.name}.{uuid4().hex}.part")
    try:
        with open(part, "xb", opener=None if follow_umask else opener) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        discard(part)
    sync_folder(path.parent)


def write_folder_durably(folder: Path, files: Mapping[str, bytes]) -> None:
    """Writes a new folder with all its files at once: after a crash at any point, it is complete or not there.

    An interrupted write can leave a folder beside it whose name ends in `.part`.

    Args:
        folder: does not exist, or is empty. Missing parents are created.
        files: their content by name.

    Raises:
        FileExistsError: the folder holds something.
        OSError: the folder cannot be written.
    """
    if folder.is_dir() and any(folder.iterdir()):
        raise FileExistsError(folder)
    make_folders(folder.parent, follow_umask=True)
    part = folder.with_name(f".{folder.name}.{uuid4().hex}.part")
    part.mkdir()
    try:
        for name, data in files.items():
            with (part / name).open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        sync_folder(part)
        part.replace(folder)  # replaces an empty folder, refuses one that was filled in between
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    sync_folder(folder.parent)


def link_durably(file: IO[bytes], path: Path) -> None:
    """Gives an open file without a name a path, with the guarantees of `write_durably`. The file can be linked again.

    It is copied where the file system cannot link such a file.

    Raises:
        OSError: the path cannot be written.
    """
    make_folders(path.parent)
    part = path.with_name(f"{path.name}.{uuid4().hex}.part")
    file.flush()
    descriptor = file.fileno()
    try:
        try:
            grant(descriptor)
            os.fsync(descriptor)
            # os.link follows the link in /proc only if a folder is given, which the absolute path then ignores
            os.link(f"/proc/self/fd/{descriptor}", part, src_dir_fd=descriptor)
        except OSError:
            _copy(file, part)
        part.replace(path)
    finally:
        discard(part)
    sync_folder(path.parent)


def _copy(file: IO[bytes], part: Path) -> None:
    file.seek(0)
    with open(part, "xb", opener=opener) as copy:
        shutil.copyfileobj(file, copy)
        copy.flush()
        os.fsync(copy.fileno())


def discard(file: Path) -> None:
    """Deletes an unfinished file if it is there. A failure is ignored: the error before it says more."""
    with suppress(OSError):  # a file system that is read-only refuses even the deletion of a missing file
        file.unlink()


def make_folders(folder: Path, *, follow_umask: bool = False) -> None:
    """Makes a folder and its missing parents durably.

    Raises:
        OSError: a folder cannot be made.
    """
    if not folder.is_dir():
        make_folders(folder.parent, follow_umask=follow_umask)
        if follow_umask:
            folder.mkdir(exist_ok=True)
        else:
            make_folder(folder)
        with suppress(PermissionError):  # a folder can be writable without being readable
            sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Makes created, renamed and deleted entries of a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
