"""Atomic, durable writes of files."""

import os
from contextlib import suppress
from pathlib import Path
from uuid import uuid4


def write_durably(path: Path, data: bytes, *, mode: int = 0o666) -> None:
    """Writes a file atomically: after a crash at any point, the file is complete on the disk or unchanged.

    An interrupted write can leave a file whose name ends in `.part`.

    Args:
        path: the file. Missing folders are created.
        data: its content.
        mode: permissions of the file, before the umask of the process.

    Raises:
        OSError: the file cannot be written.
    """
    _make_folder(path.parent)
    part = path.with_name(f"{path.name}.{uuid4().hex}.part")
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    sync_folder(path.parent)


def _make_folder(folder: Path) -> None:
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        with suppress(PermissionError):  # a folder can be writable without being readable
            sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Makes created, renamed and deleted entries of a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
