"""Callers of the HTTP interface."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from triage.storage.base import Base, key, now


class ApiClient(Base):
    """A system that may call the HTTP interface: by a random key, of which a hash is stored, or by its public keys.

    After a rotation the previous key is accepted until `previous_key_until`. Unless `sources` is null, it is limited to
    messages of these.
    """

    __tablename__ = "api_client"
    __table_args__ = (
        UniqueConstraint("name"),
        UniqueConstraint("key_sha256"),
        CheckConstraint("num_nonnulls(key_sha256, jwks, jwks_url) = 1", name="one_credential"),
    )

    id: Mapped[UUID] = key()
    name: Mapped[str]
    scopes: Mapped[list[str]]
    sources: Mapped[list[str] | None]
    key_sha256: Mapped[str | None]
    previous_key_sha256: Mapped[str | None]
    previous_key_until: Mapped[datetime | None]
    jwks: Mapped[dict[str, Any] | None]
    jwks_url: Mapped[str | None]
    created_at: Mapped[datetime] = now()
    revoked_at: Mapped[datetime | None]


class ApiToken(Base):
    """A short-lived access token of a client, by its hash."""

    __tablename__ = "api_token"
    __table_args__ = (
        Index("ix_api_token__valid_until", "valid_until", info={"query": "clients: access tokens that have expired"}),
    )

    sha256: Mapped[str] = mapped_column(primary_key=True)
    client_id: Mapped[UUID] = mapped_column(ForeignKey("api_client.id"))
    scopes: Mapped[list[str]]
    valid_until: Mapped[datetime]


class UsedAssertion(Base):
    """The id (`jti`) of an assertion with which a client has authenticated, by its hash, so that none serves twice."""

    __tablename__ = "used_assertion"
    __table_args__ = (
        Index("ix_used_assertion__valid_until", "valid_until", info={"query": "clients: assertions that have expired"}),
    )

    client_id: Mapped[UUID] = mapped_column(ForeignKey("api_client.id"), primary_key=True)
    jti_sha256: Mapped[str] = mapped_column(primary_key=True)
    valid_until: Mapped[datetime]
