"""Locations of photos: the checked parts of a URI. Each location has one spelling, so that roots can be compared."""

import os
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final
from urllib.parse import unquote, urlsplit

from triage.errors import InvalidUriRootError

FILE: Final = "file"
WEB: Final = frozenset({"http", "https"})
_OBJECT_STORES: Final = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "memory"})
_THIS_HOST: Final = frozenset({"", "localhost"})
_TOP: Final = PurePosixPath("/")


@dataclass(frozen=True, slots=True)
class Location:
    """
    Attributes:
        scheme: in lower case.
        host: in lower case, with an optional port; the bucket of an object store; empty for files.
        path: absolute. Without percent-encoding, except in the names of objects.
    """

    scheme: str
    host: str
    path: PurePosixPath

    def is_below(self, root: "Location") -> bool:
        return (self.scheme, self.host) == (root.scheme, root.host) and self.path.is_relative_to(root.path)


def parse_root(text: str) -> Location:
    """The location of an allowed root.

    Raises:
        InvalidUriRootError: it is malformed, has no host, or is the root folder of this machine, also through a link.
    """
    root = parse_location(text)
    if root is None or (not root.host if root.scheme != FILE else os.path.realpath(root.path) == str(_TOP)):
        raise InvalidUriRootError(
            "invalid URI root: use a folder such as file:///srv/inbox, https://photos.example.org/in or "
            "s3://bucket/in, without a user, a query or '..'; the root folder / is not allowed"
        )
    return root


def parse_location(uri: str) -> Location | None:
    """The location of a URI, or None if another reader could interpret it differently."""
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
    if scheme not in {FILE} | WEB | _OBJECT_STORES or "@" in parts.netloc:
        return None
    if ".." in plain.split("/") or any(character < " " or character in "\x7f\\" for character in plain):
        return None
    host, key = parts.netloc.lower(), decoded
    if scheme == FILE:
        if host not in _THIS_HOST or not key.startswith("/"):
            return None
        host = ""
    elif scheme in _OBJECT_STORES:
        key = parts.path  # percent signs in the name of an object are literal
    return Location(scheme, host, _TOP / key.lstrip("/"))  # PurePosixPath keeps two slashes at the start


def _fully_decoded(path: str) -> str:
    """A path without percent-encoding, at any depth, because some servers decode twice."""
    while (decoded := unquote(path, errors="strict")) != path:
        path = decoded
    return path
