"""Who calls: a key or an access token becomes a caller with scopes.

Keys and tokens are random (256 bits), so a plain hash of them can be stored and looked up: no guess succeeds.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from triage.domain.clients import Caller, Client, check_client_name
from triage.domain.scopes import Scope
from triage.errors import UsageError
from triage.files.hashing import sha256_of
from triage.storage import clients
from triage.storage.database import Sessions
from triage.storage.use_case import use_case

TOKEN_LIFE: Final = timedelta(seconds=300)
"""Of an access token, as SMART Backend Services recommends."""

_MAX_JTI: Final = 200
_LONGEST_LIFE: Final = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A new access token, and the scopes that it carries."""

    token: str = field(repr=False)
    scopes: frozenset[Scope]


@use_case
def authenticate(sessions: Sessions, secret: str) -> Caller | None:
    """Returns who has this key or access token; None if no client has, it has expired, or its client is revoked."""
    sha256 = sha256_of(secret.encode("utf-8", "surrogatepass"))
    with sessions() as session:
        return clients.caller_of(session, sha256)


@use_case
def find_client(sessions: Sessions, name: str) -> Client | None:
    """Returns the client that authenticates with public keys under this name; None if it has none or is revoked."""
    check_client_name(name)
    with sessions() as session:
        client = clients.find(session, name)
    if client is None or client.revoked_at is not None or (client.jwks is None and client.jwks_url is None):
        return None
    return client


@use_case
def issue_token(
    sessions: Sessions, name: str, *, jti: str, life: timedelta, scopes: Sequence[Scope] | None = None
) -> AccessToken | None:
    """Issues an access token for an assertion whose signature and claims were verified.

    Args:
        sessions: of the worker role.
        name: of the client.
        jti: id of the assertion.
        life: how long the assertion remains valid.
        scopes: those that the client asks for; by default all of its scopes.

    Returns:
        The token, or None if the assertion was used before, or the client is revoked.

    Raises:
        UsageError: `jti` is empty or too long, or the client may have none of the scopes.
    """
    if not 1 <= len(jti) <= _MAX_JTI:
        raise UsageError(f"invalid jti: use 1 to {_MAX_JTI} characters")
    if not timedelta(0) < life <= _LONGEST_LIFE:
        raise UsageError("invalid life of an assertion: use up to 300 seconds")
    token = secrets.token_urlsafe(32)
    with sessions.begin() as session:
        client = clients.find(session, check_client_name(name))
        if client is None or client.revoked_at is not None:
            return None
        granted = client.scopes if scopes is None else client.scopes & frozenset(scopes)
        if not granted:
            raise UsageError("the client may have none of these scopes: ask for scopes that it was registered with")
        if not clients.use_assertion(session, client.id, sha256_of(jti.encode("utf-8", "surrogatepass")), life=life):
            return None
        clients.add_token(session, client.id, sha256_of(token.encode()), sorted(granted), life=TOKEN_LIFE)
    return AccessToken(token, granted)
