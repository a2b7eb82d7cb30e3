"""The queue: messages that wait for a person, oldest first."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import urlencode
from uuid import UUID, uuid4

from starlette.responses import Response

from triage.domain.ids import MessageId, ModelVersionId
from triage.domain.queue import COUNTED, Place
from triage.domain.staff import Right
from triage.domain.states import Reason, WaitingState
from triage.errors import UsageError
from triage.queue import claims
from worker.console.page import Pages, Visit, template

QUEUE_PAGES: Final = Pages()

_QUEUE: Final = template("queue.html")

_PER_PAGE: Final = 50
_FILTERS: Final = ("state", "reason", "source", "model", "hours", "mine")
_HOURS: Final = ("1", "4", "24", "72")
_REASONS: Final = (
    Reason.NEAR_THRESHOLD,
    Reason.NO_PHOTO_PASSED,
    Reason.UNREADABLE_PHOTO,
    Reason.NO_READABLE_PHOTO,
    Reason.REQUEST_LIMIT,
    Reason.COOLDOWN,
    Reason.IDENTICAL_RESEND,
    Reason.OPTED_OUT,
)


@QUEUE_PAGES.page("GET", "/", right=Right.SEE)
def show_queue(visit: Visit) -> Response:
    """A page of the queue, by the filters in the address."""
    query, text = visit.request.query_params, visit.texts
    chosen = {name: query.get(name, "") for name in _FILTERS}
    page = claims.list_waiting(
        visit.services.sessions, **_filters(visit, chosen), after=_place(query.get("after", "")), limit=_PER_PAGE
    )
    return visit.render(
        _QUEUE,
        page=page,
        chosen=chosen,
        states=[(each.value, text(f"waiting.{each}")) for each in WaitingState],
        reasons=[(each.value, text(f"reason.{each}")) for each in _REASONS],
        sources=[(each, each) for each in claims.list_sources(visit.services.sessions)],
        models=claims.list_models(visit.services.sessions),
        hours=[(each, text("queue.over_hours", hours=each)) for each in _HOURS],
        is_first="after" not in query,
        is_filtered=any(chosen.values()),
        counted=COUNTED,
        following=_address(chosen, page.following),
        first=_address(chosen, None),
        nothing_free="nothing" in query,
        form=uuid4(),
    )


@QUEUE_PAGES.page("POST", "/next", right=Right.DECIDE)
def take_next(visit: Visit) -> Response:
    """Claims the oldest free message that the filters select, and opens it. The same form twice opens one message."""
    chosen = {name: visit.form.get(name, "") for name in _FILTERS}
    message_id = claims.claim_oldest(
        visit.services.sessions,
        by=visit.staff.actor,
        lease=visit.console.settings.claim_lease,
        form=_form_id(visit.form.get("form", "")),
        **_filters(visit, chosen),
    )
    if message_id is None:
        return visit.redirect(f"/{_address(chosen | {'nothing': '1'}, None)}")
    return visit.redirect(f"/messages/{message_id}")


@QUEUE_PAGES.page("POST", "/messages/{message_id:uuid}/claim", right=Right.DECIDE)
def claim_message(visit: Visit) -> Response:
    """Claims a message, or extends the claim."""
    message_id = MessageId(visit.uuid("message_id"))
    lease = visit.console.settings.claim_lease
    claims.claim(visit.services.sessions, message_id, by=visit.staff.actor, lease=lease)
    return visit.redirect(f"/messages/{message_id}")


@QUEUE_PAGES.page("POST", "/messages/{message_id:uuid}/release", right=Right.DECIDE)
def release_message(visit: Visit) -> Response:
    """Ends the own claim; a manager ends that of another person."""
    message_id = MessageId(visit.uuid("message_id"))
    of_others = visit.may(Right.MANAGE)
    claims.release(visit.services.sessions, message_id, by=visit.staff.actor, of_others=of_others)
    return visit.redirect("/")


@QUEUE_PAGES.page("POST", "/messages/{message_id:uuid}/assign", right=Right.DECIDE)
def assign_message(visit: Visit) -> Response:
    """Sends a message to a colleague."""
    message_id = MessageId(visit.uuid("message_id"))
    claims.assign(
        visit.services.sessions,
        message_id,
        visit.field("to"),
        by=visit.staff.actor,
        of_others=visit.may(Right.MANAGE),
    )
    return visit.redirect(f"/messages/{message_id}")


def _filters(visit: Visit, chosen: dict[str, str]) -> dict[str, Any]:
    try:
        return {
            "state": WaitingState(chosen["state"]) if chosen["state"] else None,
            "reason": Reason(chosen["reason"]) if chosen["reason"] else None,
            "source": chosen["source"] or None,
            "model": ModelVersionId(UUID(chosen["model"])) if chosen["model"] else None,
            "older_than": timedelta(hours=int(_HOURS[_HOURS.index(chosen["hours"])])) if chosen["hours"] else None,
            "assigned_to": visit.staff.actor if chosen["mine"] else None,
        }
    except ValueError:
        raise UsageError("unknown filter: choose one of the list") from None


def _form_id(text: str) -> UUID | None:
    try:
        return UUID(text) if text else None
    except ValueError:
        raise UsageError("the form is incomplete: load the page again") from None


def _address(chosen: dict[str, str], after: Place | None) -> str:
    """The query of a page with these filters."""
    given = {name: value for name, value in chosen.items() if value}
    if after is not None:
        given["after"] = f"{after.since.timestamp():.6f}_{after.id.hex}"
    return f"?{urlencode(given)}" if given else ""


def _place(text: str) -> Place | None:
    if not text:
        return None
    try:
        since, _, message_id = text.partition("_")
        return Place(datetime.fromtimestamp(float(since), UTC), UUID(message_id))
    except (ValueError, OverflowError, OSError):
        raise UsageError("invalid place in the queue: open the first page") from None
