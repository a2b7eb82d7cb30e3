"""A content-addressed store for the bytes of photos and the weights of models."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import fsspec
from fsspec.implementations.local import LocalFileSystem

from triage.errors import AttachmentError, BlobStoreUnavailableError, ErrorCode, TransientError
from triage.files.atomic import make_folders, write_durably
from triage.files.hashing import sha256_of


class BlobStore:
    """Stores bytes under their SHA-256, in a folder or at any URL that fsspec supports. Equal bytes are stored once."""

    def __init__(self, url: str) -> None:
        self._fs, self._root = _filesystem(url)

    @property
    def folder(self) -> Path | None:
        """The folder of the store; None if it is elsewhere."""
        return Path(self._root) if isinstance(self._fs, LocalFileSystem) else None

    def put(self, data: bytes) -> str:
        """Stores bytes atomically and returns their SHA-256.

        Raises:
            BlobStoreUnavailableError: the store cannot be written.
        """
        sha256 = sha256_of(data)
        path = self._path(sha256)
        try:
            if self._fs.exists(path) and self._fs.size(path) == len(data):
                return sha256
            if self.folder:
                write_durably(Path(path), data)
            else:
                self._fs.pipe_file(path, data)
        except OSError as error:
            raise BlobStoreUnavailableError(
                "the blob store cannot be written: check its free space and permissions, and the blob store's URL"
            ) from error
        return sha256

    def get(self, sha256: str) -> bytes:
        """Returns the bytes with this hash.

        Raises:
            AttachmentError: the bytes are missing, or do not have this hash.
            TransientError: the store does not respond.
        """
        try:
            data: bytes = self._fs.cat_file(self._path(sha256))
        except FileNotFoundError as error:
            raise AttachmentError(
                ErrorCode.NOT_FOUND, "the photo is no longer in the blob store: request it again"
            ) from error
        except OSError as error:
            raise TransientError(ErrorCode.FETCH_FAILED, "the blob store does not respond: retry") from error
        if sha256_of(data) != sha256:
            raise AttachmentError(ErrorCode.CORRUPT, "the stored photo differs from the received one: request it again")
        return data

    def remove(self, name: str) -> None:
        """Deletes a file of the store, for bytes named by their SHA-256. Has no effect if the file does not exist.

        Raises:
            BlobStoreUnavailableError: the file cannot be deleted.
        """
        with self._may_fail(), suppress(FileNotFoundError):
            self._fs.rm_file(self._path(name))

    def names(self, folder: str) -> list[str]:
        """The names of the files in a folder of the store. The folders are named 00 to ff.

        Raises:
            BlobStoreUnavailableError: the store cannot be read.
        """
        with self._may_fail(), suppress(FileNotFoundError):
            return [path.rsplit("/", 1)[-1] for path in self._fs.ls(f"{self._root}/{folder}", detail=False)]
        return []

    def is_older(self, name: str, than: datetime) -> bool:
        """Whether a file was last modified before a time. False if the store does not provide the time."""
        with self._may_fail(), suppress(FileNotFoundError, NotImplementedError):
            modified: datetime = self._fs.modified(self._path(name))
            return modified < than
        return False

    def size(self, name: str) -> int:
        """The size of a file in bytes, or 0 if it does not exist."""
        with self._may_fail(), suppress(FileNotFoundError):
            return int(self._fs.size(self._path(name)))
        return 0

    def check(self) -> None:
        """Writes and deletes a probe file.

        Raises:
            BlobStoreUnavailableError: the store cannot be written.
        """
        probe = f"{self._root}/probe-{uuid4().hex}"
        try:
            if self.folder:
                make_folders(self.folder)
            else:
                self._fs.makedirs(self._root, exist_ok=True)
            self._fs.pipe_file(probe, b"probe")
            self._fs.rm_file(probe)
        except OSError as error:
            raise BlobStoreUnavailableError(
                "the blob store cannot be written: check its free space and permissions, and the blob store's URL"
            ) from error

    @contextmanager
    def _may_fail(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as error:
            raise BlobStoreUnavailableError(
                "the blob store cannot be read or changed: check its permissions and URL"
            ) from error

    def _path(self, sha256: str) -> str:
        return f"{self._root}/{sha256[:2]}/{sha256}"


def _filesystem(url: str) -> tuple[Any, str]:
    try:
        fs, path = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise BlobStoreUnavailableError(
            "the URL's scheme has no installed fsspec driver: install s3fs, gcsfs or adlfs, or use another URL"
        ) from error
    return fs, path.rstrip("/")
