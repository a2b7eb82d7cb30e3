"""Clients of the HTTP interface."""

from typing import TYPE_CHECKING, Literal, Self
from uuid import UUID

from triage.domain.clients import Client
from triage.domain.scopes import Scope
from worker.documents.document import Document, UtcTime

if TYPE_CHECKING:  # not imported at run time: SQLAlchemy
    from triage.clients.registration import NewKey


class ClientDocument(Document):
    """A client: how it authenticates, what it may do, and for messages of which sources; null stands for all.

    `previous_key_until` is set after a rotation.
    """

    name: str
    id: UUID
    scopes: list[Scope]
    sources: list[str] | None
    credential: Literal["key", "public_keys", "public_keys_url"]
    previous_key_until: UtcTime | None
    created_at: UtcTime
    revoked_at: UtcTime | None

    @classmethod
    def of(cls, client: Client) -> Self:
        return cls(
            name=client.name,
            id=client.id,
            scopes=sorted(client.scopes),
            sources=None if client.sources is None else list(client.sources),
            credential="public_keys" if client.jwks is not None else "public_keys_url" if client.jwks_url else "key",
            previous_key_until=client.previous_key_until,
            created_at=client.created_at,
            revoked_at=client.revoked_at,
        )


class NewKeyDocument(ClientDocument):
    """A client with its new key, which is shown once; null if it has public keys."""

    key: str | None

    @classmethod
    def of_new(cls, made: "NewKey") -> Self:
        return cls.model_validate(dict(ClientDocument.of(made.client)) | {"key": made.key})
