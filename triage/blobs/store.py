"""Where photos' bytes are: a content-addressed blob store, or a URI that a sender passed instead of bytes."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import fsspec
from fsspec.implementations.local import LocalFileSystem

from triage.errors import AttachmentError, BlobStoreUnavailableError, ErrorCode, TransientError
from triage.files.atomic import write_durably
from triage.files.hashing import sha256_of


class BlobStore:
    """Bytes under their SHA-256, in a folder or at any URL that fsspec knows. The same bytes are stored once."""

    def __init__(self, url: str) -> None:
        self._fs, self._root = _filesystem(url)

    def put(self, data: bytes) -> str:
        """Stores the bytes, whole or not at all, and returns their SHA-256.

        Raises:
            BlobStoreUnavailableError: the store cannot be written to.
        """
        sha256 = sha256_of(data)
        path = self._path(sha256)
        try:
            if self._fs.exists(path) and self._fs.size(path) == len(data):
                return sha256
            if isinstance(self._fs, LocalFileSystem):
                write_durably(Path(path), data)
            else:
                self._fs.pipe_file(path, data)
        except OSError as error:
            raise BlobStoreUnavailableError(
                "the blob store cannot be written: check its free space and permissions, and the blob store's URL"
            ) from error
        return sha256

    def get(self, sha256: str) -> bytes:
        """Reads the bytes of a hash.

        Raises:
            AttachmentError: they are not there, or are not those of the hash.
            TransientError: the store does not answer.
        """
        try:
            data: bytes = self._fs.cat_file(self._path(sha256))
        except FileNotFoundError as error:
            raise AttachmentError(
                ErrorCode.NOT_FOUND, "the photo is no longer in the blob store: ask for it again"
            ) from error
        except OSError as error:
            raise TransientError(ErrorCode.FETCH_FAILED, "the blob store does not answer: it is tried again") from error
        if sha256_of(data) != sha256:
            raise AttachmentError(ErrorCode.CORRUPT, "the stored photo is not what was received: ask for it again")
        return data

    def remove(self, name: str) -> None:
        """Removes a file of the store, bytes by their SHA-256; one that is gone already is no error.

        Raises:
            BlobStoreUnavailableError: the store does not let go of it.
        """
        with self._may_fail(), suppress(FileNotFoundError):
            self._fs.rm_file(self._path(name))

    def names(self, folder: str) -> list[str]:
        """The files of one of the store's folders, which are called 00 to ff.

        Raises:
            BlobStoreUnavailableError: the store cannot be read.
        """
        with self._may_fail(), suppress(FileNotFoundError):
            return [path.rsplit("/", 1)[-1] for path in self._fs.ls(f"{self._root}/{folder}", detail=False)]
        return []

    def is_older(self, name: str, than: datetime) -> bool:
        """Whether a file was last written before a time; False where the store does not say."""
        with self._may_fail(), suppress(FileNotFoundError, NotImplementedError):
            modified: datetime = self._fs.modified(self._path(name))
            return modified < than
        return False

    def size(self, name: str) -> int:
        """The size of a file in bytes; 0 for one that is gone."""
        with self._may_fail(), suppress(FileNotFoundError):
            return int(self._fs.size(self._path(name)))
        return 0

    def check(self) -> None:
        """Writes and removes a probe.

        Raises:
            BlobStoreUnavailableError: the store cannot be written to.
        """
        probe = f"{self._root}/probe-{uuid4().hex}"
        try:
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
            "the URL's scheme has no fsspec driver here: install it (s3fs, gcsfs, adlfs) or use another URL"
        ) from error
    return fs, path.rstrip("/")
