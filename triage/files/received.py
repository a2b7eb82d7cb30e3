"""Bytes that arrive in pieces, such as an upload, kept in a file without a name until they are stored."""

import hashlib
import os
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Final, Self

_HEAD_BYTES: Final = 2**16


class ReceivedBytes:
    """The pieces received so far, with their hash and number. Nothing is left behind if the process is killed.

    A context manager: on exit the file is deleted. What a store keeps is a link or a copy.

    Attributes:
        size: number of bytes received, including those beyond the limit.
    """

    def __init__(self, folder: Path | None = None, *, keep: int) -> None:
        """
        Args:
            folder: where the file is, for example on the volume of a store; by default the system's temporary folder.
            keep: largest number of bytes to keep. Of a longer input only the hash, the size and the start are known.

        Raises:
            OSError: the file cannot be made.
        """
        self.file = _nameless_file(folder)
        self.size = 0
        self._keep = keep
        self._head = b""
        self._hash = hashlib.sha256()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write(self, piece: bytes) -> None:
        """
        Raises:
            OSError: the file cannot be written.
        """
        self.size += len(piece)
        self._hash.update(piece)
        if len(self._head) < _HEAD_BYTES:
            self._head += piece[: _HEAD_BYTES - len(self._head)]
        if self.size <= self._keep:
            self.file.write(piece)

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    @property
    def head(self) -> bytes:
        """The first bytes, which tell the format."""
        return self._head

    def close(self) -> None:
        self.file.close()


def _nameless_file(folder: Path | None) -> IO[bytes]:
    """A file without a name; on Linux, in a folder, one that can be given a name later."""
    if folder is not None and hasattr(os, "O_TMPFILE"):
        try:
            return os.fdopen(os.open(folder, os.O_TMPFILE | os.O_RDWR, 0o600), "w+b")
        except OSError:  # the file system has no such files
            pass
    return TemporaryFile(dir=folder)
