"""Retake requests, as message systems collect them."""

from typing import Self
from uuid import UUID

from triage.domain.messages import RetakeRequest
from triage.domain.states import RetakeStatus
from worker.documents.document import Document, UtcTime


class RetakeRequestDocument(Document):
    """A retake request, without its lease token."""

    id: UUID
    message_id: str
    source: str
    thread: str
    locale: str
    status: RetakeStatus
    may_have_been_sent: bool
    created_at: UtcTime
    model: str | None

    @classmethod
    def of(cls, request: RetakeRequest) -> Self:
        return cls(
            id=request.id,
            message_id=request.message,
            source=request.source,
            thread=request.thread,
            locale=request.locale,
            status=request.status,
            may_have_been_sent=request.may_have_been_sent,
            created_at=request.created_at,
            model=request.model,
        )


class ClaimedRequestDocument(RetakeRequestDocument):
    """A retake request with its lease, for the sender that claimed it."""

    token: UUID
    lease_until: UtcTime

    @classmethod
    def of(cls, request: RetakeRequest) -> Self:
        document = RetakeRequestDocument.of(request)
        return cls.model_validate(dict(document) | {"token": request.token, "lease_until": request.lease_until})
