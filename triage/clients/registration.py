"""Use cases of an administrator: add, list, rotate and revoke clients. Each is one transaction with its audit event."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from sqlalchemy.orm import Session

from triage.domain.actors import check_actor
from triage.domain.clients import Client, check_client_name, check_jwks, check_jwks_url
from triage.domain.scopes import ACROSS_SOURCES, Scope
from triage.domain.text import check_word
from triage.errors import NotFoundError, UsageError
from triage.files.hashing import sha256_of
from triage.storage import audit, clients
from triage.storage.database import Sessions
from triage.storage.use_case import use_case

KEY_PREFIX: Final = "triage_"
"""Start of every key, by which scanners for leaked secrets recognise it."""

_MAX_OVERLAP: Final = timedelta(days=90)
_MAX_SOURCES: Final = 100


@dataclass(frozen=True, slots=True)
class NewKey:
    """A client and its new key, None if it has public keys. The key is shown once: only a hash of it is stored."""

    client: Client
    key: str | None = field(repr=False)


@use_case
def add(
    sessions: Sessions,
    name: str,
    scopes: Sequence[Scope],
    *,
    by: str,
    sources: Sequence[str] | None = None,
    jwks: Mapping[str, Any] | None = None,
    jwks_url: str | None = None,
) -> NewKey:
    """Registers a client with a new random key or, if it has key pairs, with its public keys.

    Args:
        sessions: of the worker role.
        name: of the client; its id in the audit trail.
        scopes: what it may do.
        by: actor id of the administrator.
        sources: the only ones whose messages it may send, read and change; by default all.
        jwks: its public keys as a JSON Web Key Set.
        jwks_url: where it publishes them, instead of `jwks`.

    Raises:
        UsageError: an argument is malformed, there is no scope, a scope is across all sources and `sources` is given,
            both `jwks` and `jwks_url` are given, or the name is in use.
    """
    check_client_name(name)
    check_actor(by)
    if not scopes:
        raise UsageError("the client has no scope: give at least one")
    if sources is not None:
        _check_sources(sources, scopes)
    if jwks is not None and jwks_url is not None:
        raise UsageError("give either public keys or their URL")
    if jwks is not None:
        check_jwks(jwks)
    if jwks_url is not None:
        check_jwks_url(jwks_url)
    key = _new_key() if jwks is None and jwks_url is None else None
    with sessions.begin() as session:
        client = clients.add(
            session,
            name,
            list(dict.fromkeys(scopes)),
            sources=None if sources is None else sorted(set(sources)),
            key_sha256=None if key is None else sha256_of(key.encode()),
            jwks=jwks,
            jwks_url=jwks_url,
        )
        if client is None:
            raise UsageError("a client has this name: choose another name, or rotate its key")
        limit = {} if client.sources is None else {"sources": list(client.sources)}
        _record(session, client, "client.added", by, scopes=sorted(client.scopes), **limit)
    return NewKey(client, key)


@use_case
def list_clients(sessions: Sessions) -> list[Client]:
    """Returns all clients by name, revoked ones included."""
    with sessions() as session:
        return clients.list_clients(session)


@use_case
def rotate(sessions: Sessions, name: str, *, by: str, overlap: timedelta) -> NewKey:
    """Gives a client a new key. The previous one is accepted until the overlap ends, and the one before it no more.

    Raises:
        UsageError: no client has this name, it is revoked or has public keys, or the overlap is negative or longer
            than 90 days.
    """
    check_actor(by)
    if not timedelta(0) <= overlap <= _MAX_OVERLAP:
        raise UsageError(f"invalid overlap: use 0 to {_MAX_OVERLAP.days} days")
    key = _new_key()
    with sessions.begin() as session:
        client = _find(session, name)
        if client.revoked_at is not None:
            raise UsageError("the client is revoked: add a new one")
        if client.jwks is not None or client.jwks_url is not None:
            raise UsageError("the client has public keys: it rotates them in its key set")
        clients.rotate(session, client.id, sha256_of(key.encode()), overlap=overlap)
        _record(session, client, "client.rotated", by, overlap_seconds=int(overlap.total_seconds()))
    return NewKey(client, key)


@use_case
def revoke(sessions: Sessions, name: str, *, by: str) -> Client:
    """Ends all credentials of a client at once. Idempotent. Its name stays in use, because the audit trail has it.

    Raises:
        UsageError: no client has this name, or `by` is malformed.
    """
    check_actor(by)
    with sessions.begin() as session:
        client = _find(session, name)
        if client.revoked_at is None:
            clients.revoke(session, client.id)
            _record(session, client, "client.revoked", by)
            session.expire_all()
            client = _find(session, name)
    return client


def _check_sources(sources: Sequence[str], scopes: Sequence[Scope]) -> None:
    if not 1 <= len(sources) <= _MAX_SOURCES:
        raise UsageError(f"invalid sources: give 1 to {_MAX_SOURCES}, or none for all")
    for source in sources:
        check_word(source, "source")
    if across := ACROSS_SOURCES.intersection(scopes):
        raise UsageError(f"the scope {min(across)} is across all sources: give it to a client without limit")


def _find(session: Session, name: str) -> Client:
    client = clients.find(session, check_client_name(name))
    if client is None:
        raise NotFoundError("no client has this name: list the clients")
    return client


def _record(session: Session, client: Client, action: str, by: str, **details: object) -> None:
    audit.record(session, actor=by, action=action, subject_kind="client", subject_id=client.id, **details)


def _new_key() -> str:
    return f"{KEY_PREFIX}{secrets.token_urlsafe(32)}"
