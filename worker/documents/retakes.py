"""Retake requests, as message systems collect them: what tasks and commands take and answer."""

from collections.abc import Sequence
from typing import Final, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from triage.domain.ids import LeaseToken, RetakeRequestId
from triage.domain.messages import HeldRequest, RetakeRequest
from triage.domain.states import Acknowledged, RetakeStatus
from triage.errors import UsageError, validation_problems
from worker.documents.document import Call, Document, UtcTime
from worker.documents.replies import ReplyDocument, RequestedPhotoDocument

MAX_REQUESTS: Final = 1000
"""Of one claim or acknowledgement by a task: its answer stays far below the limit of a message."""


class RetakeRequestDocument(Document):
    """A retake request, without its lease token. `reply` is null once the message is forgotten."""

    id: UUID
    message_id: str
    source: str
    thread: str
    locale: str
    status: RetakeStatus
    may_have_been_sent: bool
    created_at: UtcTime
    model: str | None
    photos: list[RequestedPhotoDocument]
    reply: ReplyDocument | None

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
            photos=[RequestedPhotoDocument.of(photo) for photo in request.photos],
            reply=ReplyDocument.of(request.reply) if request.reply else None,
        )


class RetakeRequestsDocument(Document):
    """Retake requests, newest first."""

    requests: list[RetakeRequestDocument]


class ClaimedRequestDocument(RetakeRequestDocument):
    """A retake request with its lease, for the sender that claimed it."""

    token: UUID
    lease_until: UtcTime

    @classmethod
    def of(cls, request: RetakeRequest) -> Self:
        document = RetakeRequestDocument.of(request)
        return cls.model_validate(dict(document) | {"token": request.token, "lease_until": request.lease_until})


class RequestsToClaim(Call):
    """A claim of at most `limit` requests, of all sources or one, under a lease."""

    limit: int = Field(default=10, ge=1, le=MAX_REQUESTS, strict=True)
    lease_seconds: float = Field(default=300, ge=1, le=86_400, strict=True)
    source: str | None = None


class Claim(RequestsToClaim):
    """What `retakes.claim` takes: a claim of at most `limit` requests, of all sources or one, under a lease."""

    by: str


class ClaimedRequestsDocument(Document):
    """The answer to `retakes.claim`: the claimed requests, oldest first."""

    requests: list[ClaimedRequestDocument]

    @classmethod
    def of(cls, requests: Sequence[RetakeRequest]) -> Self:
        return cls(requests=[ClaimedRequestDocument.of(request) for request in requests])


class HeldRequestDocument(BaseModel):
    """A claimed request and its token. Other keys have no effect, so that a claimed request can be sent as it is."""

    model_config = ConfigDict(hide_input_in_errors=True)

    id: UUID
    token: UUID

    def to_request(self) -> HeldRequest:
        return HeldRequest(RetakeRequestId(self.id), LeaseToken(self.token))


_LIST: Final = TypeAdapter(list[HeldRequestDocument], config=ConfigDict(defer_build=True))


def read_held_requests(data: bytes) -> list[HeldRequest]:
    """Reads claimed requests from JSON: one list of objects, or an object a line.

    Raises:
        UsageError: there is nothing, or one is malformed. The error omits its values.
    """
    try:
        if data.lstrip().startswith(b"["):
            return [document.to_request() for document in _LIST.validate_json(data)]
        lines = [HeldRequestDocument.model_validate_json(line) for line in data.splitlines() if line.strip()]
    except ValidationError as error:
        raise UsageError(f"invalid requests: {validation_problems(error)}") from error
    if not lines:
        raise UsageError("the file has no requests: give what the claim printed as JSON")
    return [document.to_request() for document in lines]


class SentRequests(Call):
    """Claimed requests that were sent, with their tokens."""

    requests: list[HeldRequestDocument] = Field(max_length=MAX_REQUESTS)


class Acknowledgement(SentRequests):
    """What `retakes.acknowledge` takes: claimed requests that were sent."""

    by: str


class AcknowledgedRequestDocument(Document):
    id: UUID
    status: Acknowledged


class AcknowledgedRequestsDocument(Document):
    """The answer to many acknowledgements, in their order.

    Unless the status is `sent`, do not send the reply: the request was withdrawn, or another sender has claimed it.
    """

    requests: list[AcknowledgedRequestDocument]

    @classmethod
    def of(cls, held: Sequence[HeldRequest], answers: Sequence[Acknowledged]) -> Self:
        pairs = zip(held, answers, strict=True)
        return cls(requests=[AcknowledgedRequestDocument(id=request.id, status=status) for request, status in pairs])


class Withdrawal(Call):
    """What `retakes.withdraw` takes."""

    by: str
    id: UUID
