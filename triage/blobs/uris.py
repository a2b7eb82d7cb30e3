"""URIs that senders submit instead of bytes: which are allowed, and how their photos are fetched.

The location that is read is assembled from the checked parts, never from the submitted text. The attacks considered,
each with a test: docs/decisions/0018-restrict-uris-to-configured-roots.md
"""

import os
import re
import socket
from collections.abc import Sequence
from typing import IO, Any, Final, NoReturn

import fsspec

from triage.blobs.filesystem import call
from triage.blobs.locations import FILE, WEB, Location, parse_location, parse_root
from triage.blobs.pauses import Pauses
from triage.blobs.web import RefusedError, ServerFaultError, open_on_web
from triage.connections import Network
from triage.domain.limits import FETCH_SECONDS
from triage.errors import (
    AttachmentError,
    ErrorCode,
    PhotoRefusedError,
    StorageFaultError,
    TransientError,
    photo_too_large,
)
from triage.files.beneath import open_below

_CHUNK_BYTES: Final = 2**20
_QUERY: Final = re.compile(r"[!$-~]*")
"""Printable ASCII without a quote or `#`."""


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
            fetch_seconds: time limit for a photo from a web server, and for each call of an object store.

        Raises:
            InvalidUriRootError: a root is malformed.
        """
        self._roots = tuple(parse_root(root) for root in roots)
        self._max_bytes = max_bytes
        self._local_networks = tuple(local_networks)
        self._fetch_seconds = fetch_seconds
        self._pauses = Pauses()

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
            StorageFaultError: the share is not mounted, or the store or the server is unreachable, fails, or is paused
                after a failure.
            PhotoRefusedError: the server does not give this photo.
            TransientError: the server sends this photo too slowly or incompletely.
        """
        return self._fetch(self._allowed(uri))

    def fetch_link(self, link: str) -> bytes:
        """Returns the bytes at a link of a server that is trusted, on a web server below an allowed root.

        Unlike a URI of a sender, it may have a query, in which object stores put signatures.

        Raises:
            AttachmentError, StorageFaultError, TransientError: as `fetch`.
        """
        address, _, query = link.partition("?")
        location = self._allowed(address)
        if location.scheme not in WEB or not _QUERY.fullmatch(query):
            _refuse()
        return self._fetch(location, query)

    def _fetch(self, location: Location, query: str = "") -> bytes:
        is_on_web = location.scheme in WEB
        try:
            if location.scheme == FILE:
                return self._from_share(location)
            with self._pauses.fetch_from((location.scheme, location.host)):
                return self._from_web(location, query) if is_on_web else self._from_object_store(location)
        except (AttachmentError, StorageFaultError):
            raise
        except (FileNotFoundError, IsADirectoryError) as error:
            if isinstance(error, FileNotFoundError) and not is_on_web and not self._is_mounted(location):
                raise StorageFaultError("the share of the photo is empty or not mounted: mount it") from error
            raise AttachmentError(ErrorCode.NOT_FOUND, "nothing is at the photo's URI: resend the photo") from error
        except RefusedError as error:
            raise PhotoRefusedError("the server of the photo does not give it: retry with a new link") from error
        except (ServerFaultError, ConnectionError, socket.gaierror) as error:
            raise StorageFaultError("the server of the photo is unavailable: retry") from error
        except Exception as error:
            if is_on_web:
                raise TransientError(ErrorCode.FETCH_FAILED, "the photo's URI does not respond: retry") from error
            raise StorageFaultError("the share of the photo cannot be read: check it") from error

    @property
    def n_roots(self) -> int:
        return len(self._roots)

    def missing_shares(self) -> int:
        """The number of roots, other than web servers, that cannot be read. An empty folder counts as readable."""
        return sum(root.scheme not in WEB and not self._is_there(root, or_empty=True) for root in self._roots)

    def _allowed(self, uri: str) -> Location:
        location = parse_location(uri)
        if location is None or not any(location.is_below(root) for root in self._roots):
            _refuse()
        return location

    def _from_web(self, location: Location, query: str) -> bytes:
        with open_on_web(
            location.scheme,
            location.host,
            str(location.path),
            query,
            local_networks=self._local_networks,
            seconds=self._fetch_seconds,
        ) as response:
            return self._read(response)

    def _from_share(self, location: Location) -> bytes:
        file = open_below([root.path for root in self._roots if root.scheme == FILE], location.path)
        if file is None:
            _refuse()
        with file:
            return self._read(file)

    def _from_object_store(self, location: Location) -> bytes:
        size = self._call(location, "info")["size"]
        self._check_size(size or 0)
        # no more than allowed, even if the object has just been replaced; an empty range is an error
        data: bytes = self._call(location, "cat_file", start=0, end=self._max_bytes + 1) if size else b""
        self._check_size(len(data))
        return data

    def _is_mounted(self, location: Location) -> bool:
        return all(self._is_there(root) for root in self._roots if location.is_below(root))

    def _is_there(self, root: Location, *, or_empty: bool = False) -> bool:
        """Whether a root can be read and is not empty. The mount point of a share that is not mounted is empty."""
        try:
            if root.scheme != FILE:
                return bool(self._call(root, "exists"))
            with os.scandir(root.path) as entries:
                return or_empty or any(entries)
        except (OSError, ImportError):  # no driver for the root's scheme is installed
            return False

    def _call(self, location: Location, method: str, **options: object) -> Any:
        # not `fsspec.open`, which would follow a chain of `::` to any location
        fs = fsspec.filesystem(location.scheme, use_listings_cache=False)
        return call(fs, method, f"{location.host}{location.path}", seconds=self._fetch_seconds, **options)

    def _read(self, stream: IO[bytes]) -> bytes:
        data = bytearray()
        while chunk := stream.read(min(_CHUNK_BYTES, self._max_bytes + 1 - len(data))):
            data += chunk
            self._check_size(len(data))
        return bytes(data)

    def _check_size(self, size: int) -> None:
        if size > self._max_bytes:
            raise photo_too_large(self._max_bytes)


def _refuse() -> NoReturn:
    raise AttachmentError(
        ErrorCode.URI_NOT_ALLOWED,
        "the photo's URI is not below an allowed root: allow its folder, or send the photo's bytes",
    )
