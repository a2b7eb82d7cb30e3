"""Opening a message: its history for a person who looks at it, which the audit trail records."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from triage.domain.actors import check_actor
from triage.domain.ids import MessageId
from triage.domain.queue import WaitingMessage
from triage.reports.explain import history
from triage.storage import audit, messages, photo_votes, queue, request_reviews
from triage.storage.database import Sessions
from triage.storage.request_reviews import Appeal
from triage.storage.use_case import use_case


@dataclass(frozen=True, slots=True)
class OpenedMessage:
    """A message as a person sees it.

    Attributes:
        story: as `history` returns it.
        waiting: its place in the queue; None if it does not wait.
        decision_id: its current decision; None if it is pending.
        appeals: against its requests.
        under_review: ids of the photos whose verdicts are left out of `story`.
    """

    story: Mapping[str, Any]
    waiting: WaitingMessage | None
    decision_id: str | None
    appeals: Sequence[Appeal] = ()
    under_review: Collection[str] = ()


@use_case
def open_message(sessions: Sessions, message_id: MessageId, *, by: str, may_vote: bool = False) -> OpenedMessage:
    """Returns a message and records in the audit trail that it was viewed.

    Args:
        sessions: of the worker role.
        message_id: its own id.
        by: actor id of the person.
        may_vote: the person may vote in photo reviews: leaves out the verdicts on photos in an open one, so that a vote
            is blind also if it is given later, or undone and given again.

    Raises:
        NotFoundError: no message has this id.
        UsageError: `by` is malformed.
    """
    check_actor(by)
    with sessions.begin() as session:
        messages.check_exists(session, message_id)
        story = history(session, message_id)
        waiting = queue.find(session, message_id)
        appeals = request_reviews.appeals_of(session, message_id)
        hidden = {str(photo) for photo in photo_votes.under_review(session, message_id)} if may_vote else set()
        audit.record_view(session, message_id, actor=by)
    decisions = story["decisions"]
    story["attachments"] = [
        photo | {"verdicts": []} if photo["id"] in hidden else photo for photo in story["attachments"]
    ]
    return OpenedMessage(story, waiting, decisions[-1]["id"] if decisions else None, appeals, hidden)
