"""Use cases of a message system for retake requests: list, claim, acknowledge, withdraw.

Each function is one transaction, which includes an audit event if it changes a request.
"""

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy.orm import Session

from triage.domain.actors import check_actor
from triage.domain.ids import LeaseToken, MessageId, RetakeRequestId
from triage.domain.messages import HeldRequest, RetakeRequest
from triage.domain.states import Acknowledged, RetakeStatus
from triage.domain.text import check_word
from triage.errors import LeaseLostError, NotFoundError, UsageError
from triage.storage import audit, outbox, retake_requests
from triage.storage.database import Sessions
from triage.storage.use_case import use_case


@use_case
def list_requests(
    sessions: Sessions, *, status: RetakeStatus | None = None, sources: Sequence[str] | None = None, limit: int
) -> list[RetakeRequest]:
    """Returns retake requests, newest first, optionally of one status and of these sources only."""
    with sessions() as session:
        return retake_requests.list_requests(session, status=status, sources=sources, limit=limit)


@use_case
def claim(
    sessions: Sessions, *, limit: int, lease: timedelta, by: str, sources: Sequence[str] | None = None
) -> list[RetakeRequest]:
    """Claims flagged requests, oldest first, for a sender that acknowledges each within the lease.

    A request whose lease has expired is flagged again.

    Args:
        sessions: of the worker role.
        limit: maximum number of requests.
        lease: how long the sender holds them.
        by: id of the sender.
        sources: only requests for messages of these sources; by default all.

    Returns:
        The claimed requests with their lease tokens.

    Raises:
        UsageError: `by` or a source is malformed.
    """
    check_actor(by)
    for source in sources or ():
        check_word(source, "source")
    with sessions.begin() as session:
        requests = outbox.claim(session, limit=limit, lease=lease, by=by, sources=sources)
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
    check_actor(by)
    with sessions.begin() as session:
        request = _find(session, request_id) if _acknowledge(session, [HeldRequest(request_id, token)], by) else None
    if request is None:
        raise LeaseLostError("the token does not hold this request (another sender claimed it): do not send it")
    return request


@use_case
def acknowledge_all(sessions: Sessions, held: Sequence[HeldRequest], *, by: str) -> list[Acknowledged]:
    """Records that claimed requests were sent, in one transaction. Idempotent for the same tokens.

    Returns:
        One answer per request, in order: the status that `acknowledge` returns, or `lease_lost` where it raises.

    Raises:
        UsageError: `by` is malformed.
    """
    check_actor(by)
    with sessions.begin() as session:
        statuses = _acknowledge(session, held, by)
    return [Acknowledged(statuses[each].value) if each in statuses else Acknowledged.LEASE_LOST for each in held]


@use_case
def withdraw(
    sessions: Sessions, request_id: RetakeRequestId, *, by: str, sources: Sequence[str] | None = None
) -> RetakeRequest:
    """Withdraws a request that is flagged or claimed. The acknowledgement of its sender then answers `withdrawn`.

    Idempotent: a request that is withdrawn already stays as it is.

    Args:
        sessions: of the worker role.
        request_id: of the request.
        by: actor id for the audit trail.
        sources: those that the caller may change; by default all.

    Raises:
        UsageError: no request of these sources has this id, it was sent, or `by` is malformed.
    """
    check_actor(by)
    with sessions.begin() as session:
        _find(session, request_id, sources)
        if outbox.withdraw_one(session, request_id, reason="withdrawn_by_person"):
            audit.record(session, actor=by, action="retake.withdrawn", subject_kind="retake", subject_id=request_id)
        request = _find(session, request_id)
    if request.status is not RetakeStatus.WITHDRAWN:
        raise UsageError(f"the request cannot be withdrawn: it is {request.status.value}")
    return request


@use_case
def answer(
    sessions: Sessions, request_ids: Sequence[RetakeRequestId], *, source: str, message_id: MessageId, by: str
) -> list[RetakeRequestId]:
    """Records that the patient has answered requests with a message. The first answer counts. Idempotent.

    Requests of these threads that are still flagged or claimed are withdrawn: there is nothing left to ask for.

    Args:
        sessions: of the worker role.
        request_ids: those that the message names; unknown ones and those of other sources are left alone.
        source: of the message.
        message_id: the message that answers.
        by: id of the system that says so.

    Returns:
        The requests that this call recorded as answered.

    Raises:
        UsageError: an argument is malformed.
    """
    check_word(source, "source")
    check_actor(by)
    with sessions.begin() as session:
        answered, withdrawn = outbox.answer(session, request_ids, source=source, message_id=message_id)
        for action, ids in (("retake.answered", answered), ("retake.withdrawn", withdrawn)):
            for each in sorted(ids):
                audit.record(
                    session,
                    actor=by,
                    action=action,
                    subject_kind="retake",
                    subject_id=each,
                    message_id=str(message_id),
                )
    return answered


def _find(session: Session, request_id: RetakeRequestId, sources: Sequence[str] | None = None) -> RetakeRequest:
    request = retake_requests.find(session, request_id, sources=sources)
    if request is None:
        raise NotFoundError("no retake request has this id: list the requests and check the id")
    return request


def _acknowledge(session: Session, held: Sequence[HeldRequest], by: str) -> dict[HeldRequest, RetakeStatus]:
    statuses = outbox.acknowledge(session, held)
    for request, status in statuses.items():
        audit.record(
            session,
            actor=by,
            action="retake.acked",
            subject_kind="retake",
            subject_id=request.id,
            status=status.value,
        )
    return statuses
