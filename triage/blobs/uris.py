"""URIs that senders submit instead of bytes: which are allowed, and how their photos are fetched.

The location that is read is assembled from the checked parts, never from the submitted text. The attacks considered,
each with a test: docs/decisions/0018-restrict-uris-to-configured-roots.md
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Final, NoReturn

import fsspec

from triage.blobs.locations import FILE, WEB, Location, parse_location, parse_root
from triage.blobs.web import Network, open_on_web
from triage.domain.limits import FETCH_SECONDS
from triage.errors import AttachmentError, ErrorCode, TransientError
from triage.files.beneath import open_below

_CHUNK_BYTES: Final = 2**20


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
        self._roots = tuple(parse_root(root) for root in roots)
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

    def _allowed(self, uri: str) -> Location:
        location = parse_location(uri)
        if location is None or not any(location.is_below(root) for root in self._roots):
            _refuse()
        return location

    @contextmanager
    def _open(self, location: Location) -> Iterator[IO[bytes]]:
        if location.scheme == FILE:
            file = open_below([root.path for root in self._roots if root.scheme == FILE], location.path)
            if file is None:
                _refuse()
            with file:
                yield file
        elif location.scheme in WEB:
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


def _refuse() -> NoReturn:
    raise AttachmentError(
        ErrorCode.URI_NOT_ALLOWED,
        "the photo's URI is not below an allowed root: allow its folder, or send the photo's bytes",
    )
