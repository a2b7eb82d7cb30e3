"""A content-addressed store for the bytes of photos and the weights of models."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

from fsspec.implementations.local import LocalFileSystem

from triage.blobs.filesystem import call, filesystem
from triage.blobs.versions import days_kept
from triage.domain.limits import FETCH_SECONDS
from triage.errors import AttachmentError, BlobStoreUnavailableError, ErrorCode, StorageFaultError
from triage.files.atomic import link_durably, write_durably
from triage.files.hashing import sha256_of
from triage.files.received import ReceivedBytes

_MARKER: Final = "triage-store-id"
_MALFORMED: Final = UUID(int=0)


class BlobStore:
    """Stores bytes under their SHA-256, in a folder or at any URL that fsspec supports. Equal bytes are stored once."""

    def __init__(self, url: str, *, seconds: float = FETCH_SECONDS) -> None:
        """
        Args:
            url: of the store.
            seconds: time limit for each call of an object store.
        """
        self._fs, self._root = filesystem(url)
        self._seconds = seconds

    @property
    def folder(self) -> Path | None:
        """The folder of the store, which may not exist; None if it is elsewhere."""
        return Path(self._root) if isinstance(self._fs, LocalFileSystem) else None

    def put(self, data: bytes | ReceivedBytes) -> str:
        """Stores bytes atomically and returns their SHA-256.

        Raises:
            BlobStoreUnavailableError: the store cannot be written.
        """
        if isinstance(data, ReceivedBytes):
            sha256, size = data.sha256, data.size
        else:
            sha256, size = sha256_of(data), len(data)
        path = self._path(sha256)
        with _writing():
            if not self._call("exists", path) or self._call("size", path) != size:
                self._write(path, data)
        return sha256

    def put_as(self, name: str, data: bytes | ReceivedBytes) -> None:
        """Stores bytes that are soon removed again, under a name of the form of a hash.

        Raises:
            BlobStoreUnavailableError: the store cannot be written.
        """
        with _writing():
            self._write(self._path(name), data)

    def receive(self, *, keep: int) -> ReceivedBytes:
        """Returns a place for bytes that arrive in pieces, from which `put` stores them without a copy in memory.

        Args:
            keep: largest number of bytes to keep.

        Raises:
            BlobStoreUnavailableError: the store cannot be written.
        """
        with _writing():
            return ReceivedBytes(self.folder, keep=keep)

    def get(self, sha256: str) -> bytes:
        """Returns the bytes with this hash.

        Raises:
            AttachmentError: the bytes do not have this hash.
            StorageFaultError: the bytes are missing, or the store does not respond.
        """
        data = self.read(sha256)
        if sha256_of(data) != sha256:
            raise AttachmentError(ErrorCode.CORRUPT, "the stored photo differs from the received one: request it again")
        return data

    def read(self, name: str) -> bytes:
        """Returns the bytes with this name.

        Raises:
            StorageFaultError: the bytes are missing, or the store does not respond.
        """
        try:
            data: bytes = self._call("cat_file", self._path(name))
        except FileNotFoundError as error:
            raise StorageFaultError("a stored photo is missing: restore the blob store") from error
        except OSError as error:
            raise StorageFaultError("the blob store does not respond: retry") from error
        return data

    def remove(self, name: str) -> None:
        """Deletes a file of the store, for bytes named by their SHA-256. Has no effect if the file does not exist.

        Raises:
            BlobStoreUnavailableError: the file cannot be deleted.
        """
        with _reading(), suppress(FileNotFoundError):
            self._call("rm_file", self._path(name))

    def names(self, folder: str) -> list[str]:
        """The names of the files in a folder of the store. The folders are named 00 to ff.

        Raises:
            BlobStoreUnavailableError: the store cannot be read.
        """
        with _reading(), suppress(FileNotFoundError):
            return [path.rsplit("/", 1)[-1] for path in self._call("ls", f"{self._root}/{folder}", detail=False)]
        return []

    def is_older(self, name: str, than: datetime) -> bool:
        """Whether a file was last modified before a time. False if the store does not provide the time."""
        with _reading(), suppress(FileNotFoundError, NotImplementedError):
            modified: datetime = self._call("modified", self._path(name))
            return modified < than
        return False

    def size(self, name: str) -> int:
        """The size of a file in bytes, or 0 if it does not exist."""
        with _reading(), suppress(FileNotFoundError):
            return int(self._call("size", self._path(name)))
        return 0

    def marker(self) -> UUID | None:
        """The id that was written into the store, or None if it has none or does not exist.

        Raises:
            BlobStoreUnavailableError: the store cannot be read.
        """
        with _reading(), suppress(FileNotFoundError):
            content: bytes = self._call("cat_file", f"{self._root}/{_MARKER}")
            try:
                return UUID(content.decode().strip())
            except ValueError:
                return _MALFORMED
        return None

    def mark(self, id_: UUID) -> None:
        """Writes an id into the store.

        Raises:
            BlobStoreUnavailableError: the store cannot be written.
        """
        with _writing():
            self._write(f"{self._root}/{_MARKER}", f"{id_}\n".encode())

    def check(self) -> None:
        """Writes and deletes a probe file. Creates no folder.

        Raises:
            BlobStoreUnavailableError: the store does not exist, or cannot be written.
        """
        probe = f"{self._root}/probe-{uuid4().hex}"
        with _writing():
            self._call("pipe_file", probe, b"probe")
            self._call("rm_file", probe)

    def days_kept_after_removal(self) -> float | None:
        """How many days the store keeps the bytes of a removed file: 0 at best, infinity if it never deletes them.

        None if the account may not ask, as an object store may refuse.

        Raises:
            BlobStoreUnavailableError: the store does not respond.
        """
        with _reading(), suppress(FileNotFoundError):
            try:
                return days_kept(self._fs, self._root, seconds=self._seconds)
            except PermissionError:
                return None
        return 0

    def _write(self, path: str, data: bytes | ReceivedBytes) -> None:
        if isinstance(data, bytes):
            if self.folder:
                write_durably(Path(path), data)
            else:
                self._call("pipe_file", path, data)
        elif self.folder:
            link_durably(data.file, Path(path))
        else:
            data.file.flush()
            data.file.seek(0)
            self._call("put_file", f"/dev/fd/{data.file.fileno()}", path)

    def _call(self, method: str, *args: object, **options: object) -> Any:
        return call(self._fs, method, *args, seconds=self._seconds, **options)

    def _path(self, sha256: str) -> str:
        return f"{self._root}/{sha256[:2]}/{sha256}"


@contextmanager
def _reading() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise BlobStoreUnavailableError(
            "the blob store cannot be read or changed: check its permissions and URL"
        ) from error


@contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise BlobStoreUnavailableError(
            "the blob store does not exist: mount it, or create the folder or bucket of its URL"
        ) from error
    except OSError as error:
        raise BlobStoreUnavailableError(
            "the blob store cannot be written: check its free space and permissions, and the blob store's URL"
        ) from error
