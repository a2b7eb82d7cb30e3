"""Clients of the HTTP interface: systems with a key or with public keys."""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import UUID

from triage.domain.scopes import ACROSS_SOURCES, Scope
from triage.errors import UsageError

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,30}")
_MAX_KEYS: Final = 10
_MAX_URL: Final = 2000
_NUMBERS: Final = {"RSA": ("n", "e"), "EC": ("x", "y")}
_NUMBER: Final = re.compile(r"[A-Za-z0-9_-]+")  # base64url
_PRIVATE: Final = {"d", "p", "q", "dp", "dq", "qi", "oth", "k"}
_SHORTEST_MODULUS: Final = 342
"""Length in base64url of 2048 bits."""


@dataclass(frozen=True, slots=True)
class Client:
    """A registered client.

    Attributes:
        name: its id in the audit trail and, with public keys, its `client_id`.
        jwks: its public keys, or None.
        jwks_url: where it publishes them, or None. With neither, it has a key of this product.
        sources: the only ones whose messages it may send, read and change; None for all.
        previous_key_until: until when its key before the last rotation is accepted.
    """

    id: UUID
    name: str
    scopes: frozenset[Scope]
    sources: tuple[str, ...] | None
    jwks: Mapping[str, Any] | None
    jwks_url: str | None
    previous_key_until: datetime | None
    created_at: datetime
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls the HTTP interface, and what this caller may do.

    Attributes:
        actor: id for the audit trail.
        sources: the only ones whose messages it may send, read and change; None for all.
    """

    actor: str
    scopes: frozenset[Scope]
    sources: tuple[str, ...] | None = None

    def may(self, scope: Scope) -> bool:
        """Whether the caller may call endpoints of a scope. A scope across all sources needs a caller without limit."""
        return scope in self.scopes and (self.sources is None or scope not in ACROSS_SOURCES)


def check_client_name(name: str) -> str:
    """Returns the name of a client unchanged. It leaves room for the id of a person in an actor id.

    Raises:
        UsageError: it is malformed.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise UsageError("invalid client name: use 1 to 31 letters, digits or `._-` (stored permanently)")
    return name


def check_jwks(jwks: Mapping[str, Any]) -> None:
    """Checks the public keys of a client.

    Raises:
        UsageError: there is no key, or one is private, without an id, incomplete, too short, or neither RSA nor EC of
            the curve P-384. The error omits them.
    """
    keys = jwks.get("keys")
    if not isinstance(keys, list) or not 1 <= len(keys) <= _MAX_KEYS:
        raise UsageError(f"invalid key set: give an object whose `keys` are 1 to {_MAX_KEYS} public keys (RFC 7517)")
    for key in keys:
        if not isinstance(key, dict) or key.get("kty") not in [*_NUMBERS] or not isinstance(key.get("kid"), str):
            raise UsageError("invalid key set: each key must be an RSA or EC key with a `kid`")
        if _PRIVATE & key.keys():
            raise UsageError("the key set has a private key: replace that key, and give its public part only")
        if not _is_usable(key):
            raise UsageError("invalid key set: each key must be RSA with at least 2048 bits, or EC of the curve P-384")


def _is_usable(key: Mapping[str, Any]) -> bool:
    """Whether a signature by RS384 or ES384 can be verified with the key."""
    numbers = [key.get(name) for name in _NUMBERS[key["kty"]]]
    if not all(isinstance(number, str) and _NUMBER.fullmatch(number) for number in numbers):
        return False
    return len(key["n"]) >= _SHORTEST_MODULUS if key["kty"] == "RSA" else key.get("crv") == "P-384"


def check_jwks_url(url: str) -> None:
    """Checks the URL where a client or an identity provider publishes its public keys.

    Raises:
        UsageError: it is neither `https://`, nor `http://` on this host. The error omits it.
    """
    if not _is_safe(url):
        raise UsageError("invalid URL of a key set: use https://, or http:// on this host's loopback address")


def is_loopback(host: str) -> bool:
    """Whether a host name or address is that of this host alone."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_safe(url: str) -> bool:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return False
    if not host or len(url) > _MAX_URL or not url.isascii() or not url.isprintable() or parts.username is not None:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))
