"""Archive files: gzipped JSON lines, one thread with all its rows per line."""

import gzip
import hashlib
import json
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias
from uuid import UUID

from triage.errors import UsageError
from triage.files.atomic import write_durably
from triage.files.kinds import read_regular

History: TypeAlias = dict[str, Any]
"""A thread with its rows: a key for each table, rows as JSON objects."""

_SUFFIX: Final = ".jsonl.gz"
_TABLES: Final = frozenset({"thread", "messages", "attachments", "decisions"})


def list_files(folder: Path) -> list[Path]:
    """The archive files of a folder, sorted by name.

    Raises:
        UsageError: the folder cannot be read.
    """
    try:
        return sorted(path for path in folder.iterdir() if path.name.endswith(_SUFFIX))
    except OSError as error:
        raise UsageError(f"the folder of the archive cannot be read ({error.strerror}): check its path") from error


def path_of(folder: Path, file_id: UUID) -> Path:
    """The path of the archive file with this id."""
    return folder / f"{file_id}{_SUFFIX}"


def id_of(path: Path) -> UUID:
    """The id of an archive file, which is its name.

    Raises:
        UsageError: the name is not an id.
    """
    try:
        return UUID(path.name.partition(".")[0])
    except ValueError as error:
        raise UsageError(f"{path.name} is not an archive file: move it to another folder") from error


def write_lines(folder: Path, file_id: UUID, lines: Sequence[str]) -> tuple[Path, str]:
    """Writes an archive file durably. The same lines always give the same bytes.

    Returns:
        The path of the file, and the SHA-256 of its bytes.

    Raises:
        UsageError: the folder cannot be written.
    """
    file = path_of(folder, file_id)
    data = gzip.compress("".join(f"{line}\n" for line in lines).encode(), mtime=0)
    try:
        write_durably(file, data)
    except OSError as error:
        raise UsageError(
            f"the archive cannot be written ({error.strerror}): check the free space and permissions of its folder"
        ) from error
    return file, hashlib.sha256(data).hexdigest()


def read_histories(path: Path) -> tuple[list[History], str]:
    """Reads an archive file.

    Returns:
        Its histories, and the SHA-256 of its bytes.

    Raises:
        UsageError: the file cannot be read, or is not a complete archive file.
    """
    try:
        data = read_regular(path)
        histories = [json.loads(line) for line in gzip.decompress(data).splitlines()]
        is_archive = all(each.keys() >= _TABLES for each in histories)
    except (OSError, EOFError, ValueError, AttributeError, zlib.error):
        is_archive = False
    if not is_archive:
        raise UsageError(f"{path.name} is not a readable, complete archive file: restore it or move it away")
    return histories, hashlib.sha256(data).hexdigest()
