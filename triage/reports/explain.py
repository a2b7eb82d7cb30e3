"""The history of one message: its photos, every model's verdicts, all decisions and all retake requests."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from triage.domain.actors import check_actor
from triage.domain.card import label_of
from triage.domain.ids import MessageId
from triage.domain.photos import Finding
from triage.domain.replies import RequestedPhoto
from triage.domain.states import RetakeStatus
from triage.replies.tips import finding_json
from triage.storage import audit, messages
from triage.storage.database import Sessions
from triage.storage.histories import MessageRows, load_history
from triage.storage.tables import Attachment, Blob, Decision, ModelVersion, RetakeRequest, Verdict
from triage.storage.use_case import use_case


@use_case
def explain(sessions: Sessions, message: str, source: str | None = None, *, by: str) -> dict[str, Any]:
    """Returns the history of a message and records in the audit trail that it was viewed.

    Args:
        sessions: of the worker role or the report role, which may append this one kind of audit event.
        message: the sender's id of the message, or its own id.
        source: the sender, required if several senders use the same id.
        by: actor id of the person who views it.

    Returns:
        As `history`; this view is not part of it.

    Raises:
        UsageError: the message is unknown or ambiguous, or `by` is malformed.
    """
    check_actor(by)
    with sessions.begin() as session:
        message_id = MessageId(messages.find_message(session, message, source).id)
        story = history(session, message_id)
        audit.record_view(session, message_id, actor=by)
    return story


def history(session: Session, message_id: MessageId) -> dict[str, Any]:
    """Returns the history of a message as JSON types. URIs are omitted because they may identify a patient.

    Returns:
        `{message_id, id, source, thread, role, locale, opted_out, fitzpatrick, received_at, forgotten_at, outcome,
        reason, decided_by, attachments[{..., verdicts[]}], decisions[], retake_requests[], audit[]}`, each list oldest
        first.
    """
    rows = load_history(session, message_id)
    message, decisions = rows.message, rows.decisions
    current = next((each for each in decisions if each.id == message.current_decision_id), None)
    return {
        "message_id": message.external_id,
        "id": str(message.id),
        "source": message.source,
        "thread": rows.thread.external_id,
        "role": message.role,
        "locale": message.locale,
        "opted_out": message.opted_out,
        "fitzpatrick": message.fitzpatrick,
        "received_at": _time(message.received_at),
        "forgotten_at": _time(message.forgotten_at),
        "outcome": current.outcome if current else None,
        "reason": current.reason if current else None,
        "decided_by": current.decided_by if current else None,
        "attachments": [_attachment(attachment, blob, rows) for attachment, blob in rows.attachments],
        "decisions": [_decision(decision, rows.models) for decision in decisions],
        "retake_requests": [_request(request, status, rows.requested[request.id]) for request, status in rows.requests],
        "audit": [
            {"at": _time(event.at), "actor": event.actor, "action": event.action, "details": event.details}
            for event in rows.events
        ],
    }


def _attachment(attachment: Attachment, blob: Blob | None, rows: MessageRows) -> dict[str, Any]:
    return {
        "attachment_id": attachment.external_id,
        "id": str(attachment.id),
        "group": attachment.photo_group,
        "sha256": attachment.sha256,
        "declared_type": attachment.declared_type,
        "media_type": attachment.media_type,
        "size_bytes": blob.size_bytes if blob else None,
        "status": attachment.status,
        "error_code": attachment.error_code,
        "attempts": attachment.attempts,
        "lost_leases": attachment.lost_leases,
        "finished_at": _time(attachment.finished_at),
        "purged_at": _time(blob.purged_at) if blob else None,
        "verdicts": [
            verdict_json(verdict, rows.models[verdict.model_version_id])
            for verdict in rows.verdicts
            if verdict.attachment_id == attachment.id
        ],
    }


def verdict_json(verdict: Verdict, model: ModelVersion) -> dict[str, Any]:
    """A verdict as JSON types."""
    return {
        "model": label_of(model.card),
        "weights_sha256": model.weights_sha256,
        "origin": verdict.origin,
        "score": verdict.score,
        "threshold": verdict.threshold,
        "acceptable": verdict.acceptable,
        "grade": verdict.grade,
        "cumulative": verdict.cumulative,
        "patch_scores": verdict.patch_scores,
        "findings": [finding_json(Finding(**finding)) for finding in verdict.findings],
        "width": verdict.width,
        "height": verdict.height,
        "n_frames": verdict.n_frames,
        "frame": verdict.frame,
        "created_at": _time(verdict.created_at),
    }


def _decision(decision: Decision, models: dict[UUID, ModelVersion]) -> dict[str, Any]:
    return {
        "id": str(decision.id),
        "outcome": decision.outcome,
        "reason": decision.reason,
        "decided_by": decision.decided_by,
        "model": label_of(models[decision.model_version_id].card) if decision.model_version_id else None,
        "actor": decision.actor,
        "note": decision.note,
        "created_at": _time(decision.created_at),
    }


def _request(request: RetakeRequest, status: RetakeStatus, photos: Sequence[RequestedPhoto]) -> dict[str, Any]:
    return {
        "id": str(request.id),
        "status": status.value,
        "may_have_been_sent": request.claimed_by is not None,
        "claimed_by": request.claimed_by,
        "created_at": _time(request.created_at),
        "sent_at": _time(request.sent_at),
        "withdrawn_at": _time(request.withdrawn_at),
        "withdrawn_reason": request.withdrawn_reason,
        "photos": [
            {
                "attachment_id": photo.external_id,
                "id": str(photo.id),
                "group": photo.group,
                "score": photo.score,
                "reasons": [asdict(reason) for reason in photo.reasons],
            }
            for photo in photos
        ],
        "reply": request.reply,
    }


def _time(value: datetime | None) -> str | None:
    return value.isoformat() if value else None
