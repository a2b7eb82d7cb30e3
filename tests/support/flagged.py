"""Retake requests without a model: flagged in the database, as a decision does."""

from sqlalchemy import text

from triage.domain.ids import RetakeRequestId, new_id
from triage.storage.database import Sessions


def flag(sessions: Sessions, message: str) -> RetakeRequestId:
    """Flags a retake request for a message, by the sender's id; returns its id."""
    decision, request = new_id(), new_id()
    with sessions.begin() as session:
        session.execute(
            text(
                "WITH decided AS (INSERT INTO decision (id, message_id, outcome, reason, decided_by) "
                "SELECT :decision, id, 'retake', 'no_photo_passed', 'model' FROM message WHERE external_id = :message) "
                "INSERT INTO retake_request (id, message_id, thread_id, decision_id, status) "
                "SELECT :request, id, thread_id, :decision, 'flagged' FROM message WHERE external_id = :message"
            ),
            {"decision": decision, "request": request, "message": message},
        )
    return RetakeRequestId(request)
