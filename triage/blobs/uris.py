"""URIs that a sender passes instead of bytes: which are allowed, and what they point to.

What is read is put together from the parts that were checked, never from the text that came. The traps, each with a
test: docs/decisions/0018-restrict-uris-to-configured-roots.md
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO, Final, NoReturn
from urllib.parse import unquote, urlsplit

import fsspec

from triage.blobs.web import Network, open_on_web
from triage.errors import AttachmentError, ErrorCode, InvalidUriRootError, TransientError
from triage.files.beneath import open_below

_WEB: Final = frozenset({"http", "https"})
_OBJECT_STORES: Final = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "memory"})
_CHUNK_BYTES: Final = 2**20


@dataclass(frozen=True, slots=True)
class _Place:
    scheme: str
    host: str
    path: PurePosixPath

    def is_below(self, root: "_Place") -> bool:
        return (self.scheme, self.host) == (root.scheme, root.host) and self.path.is_relative_to(root.path)


class UriPolicy:
    """Which URIs a sender may pass: those below an allowed root, such as `file:///srv/inbox` or `s3://photos/in`."""

    def __init__(
        self,
        roots: Sequence[str],
        *,
        max_bytes: int,
        local_networks: Sequence[Network] = (),
        fetch_seconds: float = 30.0,
    ) -> None:
        """
        Args:
            roots: of the schemes file, http, https and those of object stores.
            max_bytes: of one photo; no more is ever read.
            local_networks: where web servers may be, besides public addresses.
            fetch_seconds: for one photo from a web server.

        Raises:
            InvalidUriRootError: a root is malformed.
        """
        self._roots = tuple(_root(root) for root in roots)
        self._max_bytes = max_bytes
        self._local_networks = tuple(local_networks)
        self._fetch_seconds = fetch_seconds

    def check(self, uri: str) -> None:
        """
        Raises:
            AttachmentError: the URI is not below an allowed root.
        """
        self._allowed(uri)

    def fetch(self, uri: str) -> bytes:
        """Reads what a URI points to, never more than the limit.

        Raises:
            AttachmentError: not allowed, not there, or too large.
            TransientError: the place does not answer.
        """
        place = self._allowed(uri)
        try:
            with self._open(place) as stream:
                return self._read(stream)
        except AttachmentError:
            raise
        except (FileNotFoundError, IsADirectoryError) as error:
            raise AttachmentError(ErrorCode.NOT_FOUND, "nothing is at the photo's URI: send it again") from error
        except Exception as error:  # drivers of object stores have errors of their own
            raise TransientError(
                ErrorCode.FETCH_FAILED, "the photo's URI does not answer: it is tried again"
            ) from error

    def _allowed(self, uri: str) -> _Place:
        place = _parse(uri)
        if place is None or not any(place.is_below(root) for root in self._roots):
            _refuse()
        return place

    @contextmanager
    def _open(self, place: _Place) -> Iterator[IO[bytes]]:
        if place.scheme == "file":
            file = open_below([root.path for root in self._roots if root.scheme == "file"], place.path)
            if file is None:
                _refuse()
            with file:
                yield file
        elif place.scheme in _WEB:
            with open_on_web(
                place.scheme,
                place.host,
                str(place.path),
                local_networks=self._local_networks,
                seconds=self._fetch_seconds,
            ) as response:
                yield response
        else:
            # not `fsspec.open`, which would follow a chain of `::` to any other place
            with fsspec.filesystem(place.scheme).open(f"{place.host}{place.path}", "rb") as stream:
                yield stream

    def _read(self, stream: IO[bytes]) -> bytes:
        data = bytearray()
        while chunk := stream.read(min(_CHUNK_BYTES, self._max_bytes + 1 - len(data))):
            data += chunk
            if len(data) > self._max_bytes:
                raise AttachmentError(
                    ErrorCode.TOO_LARGE, f"the photo has more than {self._max_bytes:,} bytes: send a smaller one"
                )
        return bytes(data)


def _root(text: str) -> _Place:
    root = _parse(text)
    if root is None or root == _Place("file", "", PurePosixPath("/")) or (root.scheme != "file" and not root.host):
        raise InvalidUriRootError(
            "invalid URI root: use a folder such as file:///srv/inbox, https://photos.example.org/in or "
            "s3://bucket/in, without a user, a query or '..'"
        )
    return root


def _parse(uri: str) -> _Place | None:
    """The parts of a URI, or None if a reader could understand it in any way other than ours."""
    if uri != uri.strip() or any(character < " " or character in "\x7f\\?#" for character in uri):
        return None
    try:
        parts = urlsplit(uri)
        scheme, _ = parts.scheme.lower(), parts.port
        decoded = unquote(parts.path, errors="strict")
        plain = _decoded_to_the_end(decoded)
    except ValueError:  # a port that is no number, a bracket that is not closed, bytes that are no UTF-8
        return None
    if scheme not in {"file"} | _WEB | _OBJECT_STORES or "@" in parts.netloc:
        return None
    if ".." in plain.split("/") or any(character < " " or character in "\x7f\\" for character in plain):
        return None
    key = parts.path if scheme in _OBJECT_STORES else decoded  # an object's name has its percent signs literally
    return _Place(scheme, parts.netloc.lower(), PurePosixPath(key or "/"))


def _decoded_to_the_end(path: str) -> str:
    """A path without any percent-encoding, however often it was encoded: some servers decode twice."""
    while (decoded := unquote(path, errors="strict")) != path:
        path = decoded
    return path


def _refuse() -> NoReturn:
    raise AttachmentError(
        ErrorCode.URI_NOT_ALLOWED,
        "the photo's URI is not below an allowed root: allow its folder, or send the photo's bytes",
    )
