"""URIs that senders submit instead of bytes: which are allowed, and how their photos are fetched.

The location that is read is assembled from the checked parts, never from the submitted text. The attacks considered,
each with a test: docs/decisions/0018-restrict-uris-to-configured-roots.md
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO, Final, NoReturn
from urllib.parse import unquote, urlsplit

import fsspec

from triage.blobs.web import Network, open_on_web
from triage.domain.limits import FETCH_SECONDS
from triage.errors import AttachmentError, ErrorCode, InvalidUriRootError, TransientError
from triage.files.beneath import open_below

_WEB: Final = frozenset({"http", "https"})
_OBJECT_STORES: Final = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "memory"})
_CHUNK_BYTES: Final = 2**20


@dataclass(frozen=True, slots=True)
class _Location:
    scheme: str
    host: str
    path: PurePosixPath

    def is_below(self, root: "_Location") -> bool:
        return (self.scheme, self.host) == (root.scheme, root.host) and self.path.is_relative_to(root.path)


class UriPolicy:
    """Allows URIs below configured roots, such as `file:///srv/inbox` or `s3://photos/in`, and fetches their photos."""

    def __init__(
        self,
        roots: Sequence[str],
        *,
        max_bytes: int,
        local_networks: Sequence[Network] = (),
        fetch_seconds: float = FETCH_SECONDS,
    ) -> None:
        """
        Args:
            roots: allowed folders, with the scheme file, http, https or that of an object store.
            max_bytes: maximum size of a photo; no more is ever read.
            local_networks: networks of allowed web servers, in addition to public addresses.
            fetch_seconds: time limit for a photo from a web server.

        Raises:
            InvalidUriRootError: a root is malformed.
        """
        self._roots = tuple(_root(root) for root in roots)
        self._max_bytes = max_bytes
        self._local_networks = tuple(local_networks)
        self._fetch_seconds = fetch_seconds

    def check(self, uri: str) -> None:
        """Checks that a URI is below an allowed root.

        Raises:
            AttachmentError: it is not.
        """
        self._allowed(uri)

    def fetch(self, uri: str) -> bytes:
        """Returns the bytes at a URI.

        Raises:
            AttachmentError: the URI is not allowed, nothing is there, or the photo is too large.
            TransientError: the server or the store does not respond.
        """
        location = self._allowed(uri)
        try:
            with self._open(location) as stream:
                return self._read(stream)
        except AttachmentError:
            raise
        except (FileNotFoundError, IsADirectoryError) as error:
            raise AttachmentError(ErrorCode.NOT_FOUND, "nothing is at the photo's URI: resend the photo") from error
        except Exception as error:  # drivers of object stores raise their own types
            raise TransientError(ErrorCode.FETCH_FAILED, "the photo's URI does not respond: retry") from error

    def _allowed(self, uri: str) -> _Location:
        location = _parse(uri)
        if location is None or not any(location.is_below(root) for root in self._roots):
            _refuse()
        return location

    @contextmanager
    def _open(self, location: _Location) -> Iterator[IO[bytes]]:
        if location.scheme == "file":
            file = open_below([root.path for root in self._roots if root.scheme == "file"], location.path)
            if file is None:
                _refuse()
            with file:
                yield file
        elif location.scheme in _WEB:
            with open_on_web(
                location.scheme,
                location.host,
                str(location.path),
                local_networks=self._local_networks,
                seconds=self._fetch_seconds,
            ) as response:
                yield response
        else:
            # not `fsspec.open`, which would follow a chain of `::` to any location
            with fsspec.filesystem(location.scheme).open(f"{location.host}{location.path}", "rb") as stream:
                yield stream

    def _read(self, stream: IO[bytes]) -> bytes:
        data = bytearray()
        while chunk := stream.read(min(_CHUNK_BYTES, self._max_bytes + 1 - len(data))):
            data += chunk
            if len(data) > self._max_bytes:
                raise AttachmentError(
                    ErrorCode.TOO_LARGE, f"the photo has more than {self._max_bytes:,} bytes: send a smaller photo"
                )
        return bytes(data)


def _root(text: str) -> _Location:
    root = _parse(text)
    if root is None or root == _Location("file", "", PurePosixPath("/")) or (root.scheme != "file" and not root.host):
        raise InvalidUriRootError(
            "invalid URI root: use a folder such as file:///srv/inbox, https://photos.example.org/in or "
            "s3://bucket/in, without a user, a query or '..'"
        )
    return root


def _parse(uri: str) -> _Location | None:
    """The parts of a URI, or None if another reader could interpret it differently."""
    if uri != uri.strip() or any(character < " " or character in "\x7f\\?#" for character in uri):
        return None
    try:
        uri.encode()  # a lone surrogate is no text
        parts = urlsplit(uri)
        scheme, _ = parts.scheme.lower(), parts.port
        decoded = unquote(parts.path, errors="strict")
        plain = _fully_decoded(decoded)
    except ValueError:  # an invalid port, an unclosed bracket, a lone surrogate, or invalid UTF-8
        return None
    if scheme not in {"file"} | _WEB | _OBJECT_STORES or "@" in parts.netloc:
        return None
    if ".." in plain.split("/") or any(character < " " or character in "\x7f\\" for character in plain):
        return None
    key = parts.path if scheme in _OBJECT_STORES else decoded  # percent signs in the name of an object are literal
    return _Location(scheme, parts.netloc.lower(), PurePosixPath(key or "/"))


def _fully_decoded(path: str) -> str:
    """A path without percent-encoding, at any depth, because some servers decode twice."""
    while (decoded := unquote(path, errors="strict")) != path:
        path = decoded
    return path


def _refuse() -> NoReturn:
    raise AttachmentError(
        ErrorCode.URI_NOT_ALLOWED,
        "the photo's URI is not below an allowed root: allow its folder, or send the photo's bytes",
    )
