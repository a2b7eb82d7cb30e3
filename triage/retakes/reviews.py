"""What people say about retake requests: appeals, rulings that answer them, and reviews of requests drawn at random."""

from dataclasses import dataclass
from typing import Final

from sqlalchemy.orm import Session

from triage.domain.actors import check_actor
from triage.domain.ids import MessageId, RetakeRequestId
from triage.domain.states import ReviewKind
from triage.domain.text import check_note
from triage.errors import LeaseLostError, NotFoundError, UsageError
from triage.storage import audit, messages, queue, request_reviews
from triage.storage.database import Sessions
from triage.storage.use_case import use_case


@dataclass(frozen=True, slots=True)
class RecordedReview:
    """A person's judgement of the latest retake request of a message.

    Attributes:
        message_id: the sender's id of the message.
        recorded: by this call; False if the same judgement was recorded before.
    """

    message_id: str
    source: str
    request_id: RetakeRequestId
    kind: ReviewKind
    needless: bool
    actor: str
    recorded: bool


@use_case
def appeal(
    sessions: Sessions, message: str | MessageId, *, source: str | None = None, by: str, reason: str
) -> RecordedReview:
    """Records that the latest retake request of a message was needless. Idempotent for one person.

    It stops no request and decides nothing: `triage.retakes.override.override` does. If the message's decision is still
    to request a retake, the message waits for a person, who rules on the appeal. Appeals are counted, and are no
    estimate of the needless share, because a request that is not noticed is not appealed.

    Args:
        sessions: of the worker role.
        message: the sender's id of the message, or its own id.
        source: the sender, required if several senders use the same id.
        by: actor id of the clinician or the member of staff.
        reason: free text, stored with the appeal and nowhere else.

    Raises:
        UsageError: the message is unknown, ambiguous or forgotten, it has no retake request, `by` is malformed, or
            `reason` is blank, longer than 2,000 characters or has control or format characters.
    """
    note = check_note(reason, "reason")
    return _record(sessions, message, source, ReviewKind.APPEAL, needless=True, by=by, note=note)


@use_case
def review(
    sessions: Sessions, message: str, *, source: str | None = None, needless: bool, by: str, note: str | None = None
) -> RecordedReview:
    """Records what a reviewer says about the latest retake request of a message. Idempotent for one person.

    The needless share of a report comes from these alone. It is an estimate for all requests if the reviewed ones were
    drawn at random: see `triage.reports.sample.sample_needless`.

    Args:
        sessions: of the worker role.
        message: the sender's id of the message, or its own id.
        source: the sender, required if several senders use the same id.
        needless: one of the photos was good enough.
        by: actor id of the reviewer.
        note: free text, stored with the review and nowhere else.

    Raises:
        UsageError: as `appeal`, or this reviewer has recorded the opposite before.
    """
    checked = None if note is None else check_note(note, "note")
    return _record(sessions, message, source, ReviewKind.REVIEW, needless=needless, by=by, note=checked)


@use_case
def rule(
    sessions: Sessions,
    message: str | MessageId,
    *,
    source: str | None = None,
    needless: bool,
    by: str,
    note: str | None = None,
) -> RecordedReview:
    """Answers an appeal: the latest retake request of a message was needless, or needed. Idempotent for one person.

    The message leaves the queue. Without a ruling an appeal counts as right. A ruling is no review: requests that are
    appealed are no random sample.

    Args:
        sessions: of the worker role.
        message: the sender's id of the message, or its own id.
        source: the sender, required if several senders use the same id.
        needless: one of the photos was good enough.
        by: actor id of the reviewer.
        note: free text, stored with the ruling and nowhere else.

    Raises:
        LeaseLostError: another person holds the message.
        UsageError: as `review`, or no one has appealed.
    """
    checked = None if note is None else check_note(note, "note")
    return _record(sessions, message, source, ReviewKind.RULING, needless=needless, by=by, note=checked)


def _record(
    sessions: Sessions,
    message: str | MessageId,
    source: str | None,
    kind: ReviewKind,
    *,
    needless: bool,
    by: str,
    note: str | None,
) -> RecordedReview:
    check_actor(by)
    with sessions.begin() as session:
        found = messages.find_message(session, message, source)
        locked = messages.lock_with_thread(session, MessageId(found.id))
        if locked.forgotten_at is not None:
            raise UsageError("the message is forgotten: its retake request can no longer be judged")
        request = request_reviews.latest_request(session, MessageId(locked.id))
        if request is None:
            raise NotFoundError("the message has no retake request: check its id")
        if kind is ReviewKind.RULING:
            _check_appealed(session, MessageId(locked.id), request, by)
        row = request_reviews.add(session, request, kind, needless=needless, by=by, note=note)
        if row is None and request_reviews.says_needless(session, request, kind, by=by) is not needless:
            raise UsageError("you have recorded the opposite about this request: ask another reviewer")
        recorded = RecordedReview(locked.external_id, locked.source, request, kind, needless, by, row is not None)
        if kind is ReviewKind.RULING:
            queue.end_appeal(session, locked.id)  # the same ruling also answers a later appeal of another person
        if row is not None:
            action = _ACTIONS[kind]
            if kind is ReviewKind.APPEAL:
                queue.put_appealed(session, locked.id)
            audit.record(session, actor=by, action=action, subject_kind="retake", subject_id=request, needless=needless)
    return recorded


_ACTIONS: Final = {
    ReviewKind.APPEAL: "retake.appealed",
    ReviewKind.REVIEW: "retake.reviewed",
    ReviewKind.RULING: "retake.ruled",
}


def _check_appealed(session: Session, message_id: MessageId, request: RetakeRequestId, by: str) -> None:
    if not request_reviews.is_appealed(session, request):
        raise UsageError("no one has appealed against the retake request: review it or appeal")
    waiting = queue.find(session, message_id)
    if waiting is not None and waiting.claimed_by not in {None, by}:
        raise LeaseLostError("another person holds the message: take another one")
