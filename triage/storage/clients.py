"""Clients of the HTTP interface, their access tokens, and the assertions that they have used."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import delete, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from triage.domain.clients import Caller, Client
from triage.domain.ids import new_id
from triage.domain.scopes import Scope, known_scopes
from triage.storage.tables import ApiClient, ApiToken, UsedAssertion


def add(
    session: Session,
    name: str,
    scopes: Sequence[Scope],
    *,
    sources: Sequence[str] | None = None,
    key_sha256: str | None = None,
    jwks: Mapping[str, Any] | None = None,
    jwks_url: str | None = None,
) -> Client | None:
    """Inserts a client; returns None if there is one of this name."""
    values: dict[str, Any] = {"id": new_id(), "name": name, "scopes": [scope.value for scope in scopes]}
    values |= {"sources": sources, "key_sha256": key_sha256, "jwks_url": jwks_url}
    if jwks is not None:
        values["jwks"] = jwks
    insertion = insert(ApiClient).values(values).on_conflict_do_nothing(index_elements=["name"]).returning(ApiClient)
    row = session.scalars(insertion).one_or_none()
    return None if row is None else _client(row)


def list_clients(session: Session) -> list[Client]:
    """All clients by name."""
    return [_client(row) for row in session.scalars(select(ApiClient).order_by(ApiClient.name))]


def find(session: Session, name: str) -> Client | None:
    """The client of this name, locked until the transaction ends."""
    row = session.scalars(select(ApiClient).where(ApiClient.name == name).with_for_update()).one_or_none()
    return None if row is None else _client(row)


def rotate(session: Session, client_id: UUID, key_sha256: str, *, overlap: timedelta) -> None:
    """Replaces the key of a client. The previous one is accepted for the time of the overlap."""
    session.execute(
        update(ApiClient)
        .where(ApiClient.id == client_id)
        .values(
            previous_key_sha256=ApiClient.key_sha256,
            previous_key_until=func.clock_timestamp() + overlap,
            key_sha256=key_sha256,
        ),
        execution_options={"synchronize_session": False},
    )


def revoke(session: Session, client_id: UUID) -> None:
    """Ends all credentials of a client."""
    session.execute(
        update(ApiClient).where(ApiClient.id == client_id).values(revoked_at=func.clock_timestamp()),
        execution_options={"synchronize_session": False},
    )
    session.execute(delete(ApiToken).where(ApiToken.client_id == client_id))


def caller_of(session: Session, sha256: str) -> Caller | None:
    """Who has the key or the access token with this hash, unless it has expired or its client is revoked."""
    now = func.statement_timestamp()
    by_key = session.execute(
        select(ApiClient.name, ApiClient.scopes, ApiClient.sources).where(
            ApiClient.revoked_at.is_(None),
            or_(
                ApiClient.key_sha256 == sha256,
                (ApiClient.previous_key_sha256 == sha256) & (ApiClient.previous_key_until > now),
            ),
        )
    ).first()
    found = (
        by_key
        or session.execute(
            select(ApiClient.name, ApiToken.scopes, ApiClient.sources)
            .join(ApiClient, ApiClient.id == ApiToken.client_id)
            .where(ApiToken.sha256 == sha256, ApiToken.valid_until > now, ApiClient.revoked_at.is_(None))
        ).first()
    )
    return None if found is None else Caller(found.name, known_scopes(found.scopes), _sources(found.sources))


def use_assertion(session: Session, client_id: UUID, jti_sha256: str, *, life: timedelta) -> bool:
    """Records that a client used an assertion; returns False if it has used it before. Removes expired records."""
    session.execute(delete(UsedAssertion).where(UsedAssertion.valid_until < func.statement_timestamp()))
    insertion = insert(UsedAssertion).values(
        client_id=client_id, jti_sha256=jti_sha256, valid_until=func.statement_timestamp() + life
    )
    used = session.execute(insertion.on_conflict_do_nothing().returning(UsedAssertion.jti_sha256))
    return used.one_or_none() is not None


def add_token(session: Session, client_id: UUID, sha256: str, scopes: Sequence[Scope], *, life: timedelta) -> None:
    """Records an access token. Removes expired ones."""
    session.execute(delete(ApiToken).where(ApiToken.valid_until < func.statement_timestamp()))
    session.add(
        ApiToken(
            sha256=sha256,
            client_id=client_id,
            scopes=[scope.value for scope in scopes],
            valid_until=func.statement_timestamp() + life,
        )
    )


def _client(row: ApiClient) -> Client:
    return Client(
        id=row.id,
        name=row.name,
        scopes=known_scopes(row.scopes),
        sources=_sources(row.sources),
        jwks=row.jwks,
        jwks_url=row.jwks_url,
        previous_key_until=row.previous_key_until,
        created_at=row.created_at,
        revoked_at=row.revoked_at,
    )


def _sources(column: list[str] | None) -> tuple[str, ...] | None:
    return None if column is None else tuple(column)
