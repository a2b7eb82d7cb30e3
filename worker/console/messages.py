"""A message: its photos with scores and reasons, its history, and what a person may do with it."""

from functools import partial
from typing import Any, Final
from uuid import UUID

import anyio.to_thread
from starlette.responses import Response

from triage.domain.ids import AttachmentId, DecisionId, MessageId
from triage.domain.queue import GROUNDS, UNDONE, Ground, ground_of
from triage.domain.staff import Right
from triage.domain.states import DecidedBy, Outcome, WaitingState
from triage.errors import NotFoundError, UsageError
from triage.photo_reviews.voting import under_review
from triage.queue import decide as queue_decide
from triage.queue.message import OpenedMessage, open_message
from triage.retakes import reviews
from triage.staff import accounts
from worker.console.page import Pages, Visit, template
from worker.console.photo_bytes import show_image, show_photo_bytes

MESSAGE_PAGES: Final = Pages()

_MESSAGE: Final = template("message.html")
_PHOTO: Final = template("photo.html")
_PREVIEW: Final = template("preview.html")

_BANNERS: Final = ("decided", "undone")
"""Parameters with the id of the decision that was just made: a later decision ends the banner."""


@MESSAGE_PAGES.page("GET", "/messages/{message_id:uuid}", right=Right.SEE)
def show_message(visit: Visit) -> Response:
    """The message. The audit trail records that it was seen."""
    opened = _open(visit)
    waiting = opened.waiting
    decision = opened.story["decisions"][-1] if opened.story["decisions"] else None
    is_mine = waiting is not None and waiting.claimed_by == visit.staff.actor
    is_kept = opened.story["forgotten_at"] is None
    is_open = is_kept and (waiting is None or waiting.claimed_by is None or is_mine)
    may_decide = visit.may(Right.DECIDE) and decision is not None and is_kept
    query = visit.request.query_params
    return visit.render(
        _MESSAGE,
        opened=opened,
        story=opened.story,
        waiting=waiting,
        is_mine=is_mine,
        may_decide=may_decide,
        may_undo=is_open and decision is not None and len(opened.story["decisions"]) > 1 and _may_undo(visit, decision),
        banner=next((key for key in _BANNERS if opened.decision_id and query.get(key) == opened.decision_id), None),
        grounds={
            outcome: grounds
            for outcome, grounds in GROUNDS.items()
            if may_decide and decision is not None and _may_choose(visit, decision, outcome, is_waiting=bool(waiting))
        },
        has_maps="map" in query,
        colleagues=_colleagues(visit) if waiting and may_decide else [],
        is_appealed=may_decide and waiting is not None and waiting.state is WaitingState.APPEALED and is_open,
        may_appeal=is_kept and any(request["status"] != "withdrawn" for request in opened.story["retake_requests"]),
        Outcome=Outcome,
        UNDONE=UNDONE,
        ground_of=ground_of,
    )


@MESSAGE_PAGES.page("GET", "/messages/{message_id:uuid}/photos/{photo_id:uuid}", right=Right.SEE)
def show_photo(visit: Visit) -> Response:
    """One photo to 100 %, with all its verdicts."""
    opened, wanted = _open(visit), str(visit.uuid("photo_id"))
    photos = opened.story["attachments"]
    number = next((index for index, photo in enumerate(photos) if photo["id"] == wanted), None)
    if number is None:
        raise NotFoundError("the message has no such photo")
    has_map = "map" in visit.request.query_params
    return visit.render(
        _PHOTO,
        opened=opened,
        story=opened.story,
        photo=photos[number],
        number=number + 1,
        photos=photos,
        has_map=has_map and bool(photos[number]["verdicts"]),
    )


@MESSAGE_PAGES.page("GET", "/messages/{message_id:uuid}/photos/{photo_id:uuid}/thumbnail.jpg", right=Right.SEE)
def send_thumbnail(visit: Visit) -> Response:
    """The bytes of a small photo."""
    return _photo(visit, full=False)


@MESSAGE_PAGES.page("GET", "/messages/{message_id:uuid}/photos/{photo_id:uuid}/full.jpg", right=Right.SEE)
def send_photo(visit: Visit) -> Response:
    """The bytes of the photo with all its pixels."""
    return _photo(visit, full=True)


@MESSAGE_PAGES.page("GET", "/messages/{message_id:uuid}/photos/{photo_id:uuid}/map.png", right=Right.SEE)
async def send_map(visit: Visit) -> Response:
    """The photo under its quality map."""
    message_id, photo_id = MessageId(visit.uuid("message_id")), AttachmentId(visit.uuid("photo_id"))

    def draw() -> bytes:
        if visit.may(Right.DECIDE) and photo_id in under_review(visit.services.sessions, message_id):
            raise UsageError("the photo is in an open photo review: its quality map is hidden")
        return visit.services.quality_maps.draw(message_id, photo_id, by=visit.staff.actor)

    show = partial(show_image, visit, draw, "image/png")
    return await anyio.to_thread.run_sync(show, limiter=visit.console.maps)


@MESSAGE_PAGES.page("POST", "/messages/{message_id:uuid}/preview", right=Right.DECIDE)
def preview_request(visit: Visit) -> Response:
    """What the patient would get, before the decision. The note is in the form, because an address is logged."""
    message_id = MessageId(visit.uuid("message_id"))
    ground = _chosen(visit)[1]
    reply = queue_decide.preview_reply(
        visit.services.sessions,
        message_id,
        seen=_seen(visit),
        ground=ground,
        by=visit.staff.actor,
        policy=visit.services.settings.retake_policy,
        of_others=visit.may(Right.MANAGE),
    )
    hidden = {
        "seen": visit.field("seen"),
        "outcome": Outcome.RETAKE.value,
        "ground": ground.value,
        "note": _note(visit),
    }
    return visit.render(_PREVIEW, id=message_id, reply=reply, ground=ground, hidden=hidden)


@MESSAGE_PAGES.page("POST", "/messages/{message_id:uuid}/decide", right=Right.DECIDE)
def decide_message(visit: Visit) -> Response:
    """Decides the message."""
    message_id = MessageId(visit.uuid("message_id"))
    outcome, ground = _chosen(visit)
    made = queue_decide.decide(
        visit.services.sessions,
        message_id,
        outcome,
        seen=_seen(visit),
        ground=ground,
        note=_note(visit),
        by=visit.staff.actor,
        policy=visit.services.settings.retake_policy,
        of_others=visit.may(Right.MANAGE),
    )
    return visit.redirect(f"/messages/{message_id}?decided={made.id}")


@MESSAGE_PAGES.page("POST", "/messages/{message_id:uuid}/appeal", right=Right.SEE)
def appeal_request(visit: Visit) -> Response:
    """Says that the latest request of the message was needless."""
    message_id, reason = MessageId(visit.uuid("message_id")), " ".join(visit.field("reason").split())
    reviews.appeal(visit.services.sessions, message_id, by=visit.staff.actor, reason=reason)
    return visit.redirect(f"/messages/{message_id}")


@MESSAGE_PAGES.page("POST", "/messages/{message_id:uuid}/rule", right=Right.DECIDE)
def rule_on_appeal(visit: Visit) -> Response:
    """Answers an appeal."""
    message_id, needless = MessageId(visit.uuid("message_id")), visit.field("needless")
    if needless not in {"0", "1"}:
        raise UsageError("invalid ruling: load the page again")
    reviews.rule(visit.services.sessions, message_id, needless=needless == "1", by=visit.staff.actor)
    return visit.redirect(f"/messages/{message_id}")


@MESSAGE_PAGES.page("POST", "/messages/{message_id:uuid}/undo", right=Right.DECIDE)
def undo_decision(visit: Visit) -> Response:
    """Restores the decision before."""
    message_id = MessageId(visit.uuid("message_id"))
    made = queue_decide.undo(
        visit.services.sessions,
        message_id,
        seen=_seen(visit),
        by=visit.staff.actor,
        policy=visit.services.settings.retake_policy,
        of_others=visit.may(Right.MANAGE),
    )
    return visit.redirect(f"/messages/{message_id}?undone={made.id}")


def _open(visit: Visit) -> OpenedMessage:
    return open_message(
        visit.services.sessions,
        MessageId(visit.uuid("message_id")),
        by=visit.staff.actor,
        may_vote=visit.may(Right.DECIDE),
    )


def _colleagues(visit: Visit) -> list[str]:
    """The names of all others who may decide."""
    return [
        each.name
        for each in accounts.list_accounts(visit.services.sessions)
        if each.id != visit.staff.id and each.disabled_at is None and each.may(Right.DECIDE)
    ]


def _may_undo(visit: Visit, decision: dict[str, Any]) -> bool:
    is_own = decision["actor"] == visit.staff.actor or visit.may(Right.MANAGE)
    return decision["decided_by"] == DecidedBy.PERSON and is_own and visit.may(Right.DECIDE)


def _may_choose(visit: Visit, decision: dict[str, Any], outcome: Outcome, *, is_waiting: bool) -> bool:
    """Whether a person may decide this, as `triage.queue.decide` checks."""
    if is_waiting or decision["decided_by"] != DecidedBy.PERSON:
        return True
    return decision["outcome"] != outcome and _may_undo(visit, decision)


def _chosen(visit: Visit) -> tuple[Outcome, Ground]:
    try:
        return Outcome(visit.field("outcome")), Ground(visit.field("ground"))
    except ValueError:
        raise UsageError("invalid decision: choose a decision and one of its reasons") from None


def _note(visit: Visit) -> str:
    return " ".join(visit.form.get("note", "").split())


def _seen(visit: Visit) -> DecisionId:
    try:
        return DecisionId(UUID(visit.field("seen")))
    except ValueError:
        raise UsageError("the form is incomplete: load the page again") from None


def _photo(visit: Visit, *, full: bool) -> Response:
    return show_photo_bytes(visit, MessageId(visit.uuid("message_id")), AttachmentId(visit.uuid("photo_id")), full=full)
