"""Use cases of a message system for retake requests: list, claim, acknowledge, withdraw.

Each function is one transaction, which includes an audit event if it changes a request.
"""

from dataclasses import replace
from datetime import timedelta

from sqlalchemy.orm import Session

from triage.domain.actors import check_actor
from triage.domain.ids import LeaseToken, RetakeRequestId
from triage.domain.messages import RetakeRequest
from triage.domain.states import RetakeStatus
from triage.errors import LeaseLostError, UsageError
from triage.storage import audit, outbox
from triage.storage.database import Sessions
from triage.storage.use_case import use_case


@use_case
def list_requests(sessions: Sessions, *, status: RetakeStatus | None = None, limit: int) -> list[RetakeRequest]:
    """Returns retake requests, newest first, optionally of one status only."""
    with sessions() as session:
        return outbox.list_requests(session, status=status, limit=limit)


@use_case
def claim(sessions: Sessions, *, limit: int, lease: timedelta, by: str) -> list[RetakeRequest]:
    """Claims flagged requests, oldest first, for a sender that acknowledges each within the lease.

    A request whose lease has expired is flagged again.

    Args:
        sessions: of the worker role.
        limit: maximum number of requests.
        lease: how long the sender holds them.
        by: id of the sender.

    Returns:
        The claimed requests with their lease tokens.

    Raises:
        UsageError: `by` is malformed.
    """
    check_actor(by)
    with sessions.begin() as session:
        requests = outbox.claim(session, limit=limit, lease=lease, by=by)
        for request in requests:
            audit.record(session, actor=by, action="retake.claimed", subject_kind="retake", subject_id=request.id)
    return requests


@use_case
def acknowledge(sessions: Sessions, request_id: RetakeRequestId, token: LeaseToken, *, by: str) -> RetakeRequest:
    """Records that a claimed request was sent. Idempotent for the same token.

    Returns:
        The request. Its status is `withdrawn` if a decision or a person withdrew the request while the sender held it:
        a reply that has not been sent must not be sent. One that has been sent stays on record.

    Raises:
        UsageError: `by` is malformed.
        LeaseLostError: another sender has claimed the request, or the token or id is wrong.
    """
    with sessions.begin() as session:
        if not outbox.acknowledge(session, request_id, token):
            raise LeaseLostError("the token does not hold this request (another sender claimed it): do not send it")
        request = _find(session, request_id)
        audit.record(
            session,
            actor=by,
            action="retake.acked",
            subject_kind="retake",
            subject_id=request_id,
            status=request.status.value,
        )
        return request


@use_case
def withdraw(sessions: Sessions, request_id: RetakeRequestId, *, by: str) -> RetakeRequest:
    """Withdraws a request that is flagged or claimed. The acknowledgement of its sender then answers `withdrawn`.

    Raises:
        UsageError: no request has this id, it cannot be withdrawn any more, or `by` is malformed.
    """
    with sessions.begin() as session:
        request = _find(session, request_id)
        if request_id not in outbox.withdraw(session, [request.message_id], reason="withdrawn_by_person"):
            raise UsageError(f"the request cannot be withdrawn: it is {request.status.value}")
        audit.record(session, actor=by, action="retake.withdrawn", subject_kind="retake", subject_id=request_id)
    return replace(request, status=RetakeStatus.WITHDRAWN, lease_until=None)


def _find(session: Session, request_id: RetakeRequestId) -> RetakeRequest:
    request = outbox.find(session, request_id)
    if request is None:
        raise UsageError("no retake request has this id: list the requests and check the id")
    return request
