"""Requests that a system has got which takes them back when they are withdrawn, such as the EHR."""

from collections.abc import Collection

from sqlalchemy.orm import Session

from triage.domain.ids import RetakeRequestId
from triage.domain.states import RetakeStatus
from triage.storage import audit, outbox


def hand_over(session: Session, request_ids: Collection[RetakeRequestId], *, by: str) -> None:
    """Records in the caller's transaction that requests are sent, with an audit event for each. Idempotent.

    A request that was withdrawn on the way stays withdrawn: that event is sent too.

    Args:
        session: of the caller's transaction.
        request_ids: requests that the system has accepted.
        by: id of the system.
    """
    if not request_ids:
        return
    for request_id in sorted(outbox.hand_over(session, request_ids, by=by)):
        audit.record(
            session,
            actor=by,
            action="retake.acked",
            subject_kind="retake",
            subject_id=request_id,
            status=RetakeStatus.SENT.value,
        )
