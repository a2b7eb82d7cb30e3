"""Messages with their photos, verdicts and decisions, written into the tables at any time of the past."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import insert, text
from sqlalchemy.orm import Session

from triage.domain.states import AttachmentStatus, DecidedBy, Outcome, Reason, VerdictOrigin
from triage.storage.tables import Attachment, Decision, Message, Thread, Verdict

_LATER = timedelta(seconds=2)
_REASONS = {
    Outcome.PASS: Reason.PHOTO_PASSED,
    Outcome.RETAKE: Reason.NO_PHOTO_PASSED,
    Outcome.NOT_ASSESSABLE: Reason.NO_READABLE_PHOTO,
}


@dataclass(frozen=True)
class WrittenMessage:
    """A message of its own thread.

    Attributes:
        scores: of its photos; None for one that is not assessable.
        finding: of each photo that was scored.
    """

    source: str
    at: datetime
    scores: Sequence[float | None]
    finding: str | None = None
    media_type: str = "image/jpeg"


def write_messages(
    session: Session, messages: Iterable[WrittenMessage], *, model: UUID, threshold: float = 0.5
) -> None:
    """Writes messages that were scored and decided two seconds after their receipt."""
    rows: dict[type, list[dict[str, Any]]] = {kind: [] for kind in (Thread, Message, Attachment, Verdict, Decision)}
    for message in messages:
        _add(rows, message, model, threshold)
    session.execute(text("SET LOCAL session_replication_role = replica"))  # skips foreign keys and triggers
    for kind, values in rows.items():
        session.execute(insert(kind), values)
    session.execute(text("SET LOCAL session_replication_role = origin"))


def _add(rows: dict[type, list[dict[str, Any]]], message: WrittenMessage, model: UUID, threshold: float) -> None:
    thread, own, decision, later = (_id(message.at), _id(message.at), _id(message.at), message.at + _LATER)
    later = message.at + _LATER
    rows[Thread].append({"id": thread, "source": message.source, "external_id": str(thread)})
    rows[Message].append(
        {
            "id": own,
            "source": message.source,
            "external_id": str(own),
            "thread_id": thread,
            "role": "patient",
            "locale": "en",
            "opted_out": False,
            "received_at": message.at,
            "current_decision_id": decision,
        }
    )
    for score in message.scores:
        photo = _id(message.at)
        rows[Attachment].append(
            {
                "id": photo,
                "message_id": own,
                "external_id": str(photo),
                "media_type": message.media_type,
                "sha256": uuid4().hex * 2,
                "status": AttachmentStatus.NOT_ASSESSABLE if score is None else AttachmentStatus.SCORED,
                "error_code": "corrupt" if score is None else None,
                "created_at": message.at,
                "finished_at": later,
            }
        )
        if score is not None:
            finding = {"kind": message.finding, "level": "mild", "strength": 0.5}
            rows[Verdict].append(
                {
                    "id": _id(later),
                    "attachment_id": photo,
                    "model_version_id": model,
                    "origin": VerdictOrigin.INBOX,
                    "score": score,
                    "threshold": threshold,
                    "acceptable": score >= threshold,
                    "grade": 2,
                    "cumulative": [score],
                    "patch_scores": [score] * 5,
                    "findings": [finding] if message.finding else [],
                    "width": 3000,
                    "height": 4000,
                    "created_at": later,
                }
            )
    readable = [score for score in message.scores if score is not None]
    outcome = Outcome.NOT_ASSESSABLE if not readable else Outcome.PASS if max(readable) >= threshold else Outcome.RETAKE
    rows[Decision].append(
        {
            "id": decision,
            "message_id": own,
            "outcome": outcome,
            "reason": _REASONS[outcome],
            "decided_by": DecidedBy.MODEL,
            "model_version_id": model,
            "created_at": later,
        }
    )


def _id(at: datetime) -> UUID:
    """A UUIDv7 of a time."""
    milliseconds = int(at.timestamp() * 1000)
    random = uuid4().int
    return UUID(int=milliseconds << 80 | 0x7 << 76 | (random >> 66 & 0xFFF) << 64 | 0b10 << 62 | random & (1 << 62) - 1)
