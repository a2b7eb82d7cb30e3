"""A file that is whole and on the disk, or not there at all, whatever happens while it is written."""

import os
from contextlib import suppress
from pathlib import Path
from uuid import uuid4


def write_durably(path: Path, data: bytes, *, mode: int = 0o666) -> None:
    """Writes a file, its folder made if need be. What a killed writer leaves ends in `.part`.

    Args:
        mode: of the file, less the process's umask.
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
        with suppress(PermissionError):  # whoever may write to a folder may not always read it
            sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """A new name, or the removal of one, is on the disk once its folder is."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
