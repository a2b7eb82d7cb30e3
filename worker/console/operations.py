"""What a manager watches: events for other systems, messages that other systems hold, and runs."""

import re
from dataclasses import fields
from itertools import chain
from typing import Any, Final
from uuid import UUID

from starlette.responses import Response

from triage import runs
from triage.arrivals import manage as arrivals
from triage.deliveries import manage as deliveries
from triage.domain.ids import ArrivalId, EventId, RunId
from triage.domain.staff import Right
from triage.domain.states import ArrivalStatus, DeliveryStatus
from triage.errors import UsageError
from triage.reports.learning import CurveWords, learning_charts
from worker.console.page import PATH, Pages, Visit, template
from worker.run_waits import find_waits

OPERATION_PAGES: Final = Pages()

_DELIVERIES: Final = template("deliveries.html")
_RUN: Final = template("run.html")
_RUNS: Final = template("runs.html")

_ROWS: Final = 100
_OPEN: Final = "open"
"""The filter for what is dead or waits: a person may do something about it."""

_REFRESH_SECONDS: Final = 5
_REFRESHES: Final = 60
"""A page that reloads keeps a session from ending, so it stops after five minutes."""


@OPERATION_PAGES.page("GET", "/deliveries", right=Right.MANAGE)
def show_deliveries(visit: Visit) -> Response:
    """Events for other systems, and messages that are read on other systems."""
    query = visit.request.query_params
    chosen, retried = query.get("status", _OPEN), query.get("retried", "")
    statuses = {_OPEN, *DeliveryStatus, *ArrivalStatus}
    if chosen not in statuses:
        raise UsageError("unknown filter: choose one of the list")
    sessions = visit.services.sessions
    sent = chain.from_iterable(
        deliveries.list_deliveries(sessions, status=status, limit=_ROWS)
        for status in DeliveryStatus
        if chosen == status or (chosen == _OPEN and status in {DeliveryStatus.DEAD, DeliveryStatus.PENDING})
    )
    read = chain.from_iterable(
        arrivals.list_arrivals(sessions, status=status, limit=_ROWS)
        for status in ArrivalStatus
        if chosen == status or (chosen == _OPEN and status in {ArrivalStatus.DEAD, ArrivalStatus.PENDING})
    )
    return visit.render(
        _DELIVERIES,
        deliveries=_dead_first(sent),
        arrivals=_dead_first(read),
        chosen=chosen,
        retried=int(retried) if re.fullmatch("[0-9]{1,9}", retried) else None,
        statuses=[
            (each, visit.texts(f"sent.{each}")) for each in dict.fromkeys([_OPEN, *DeliveryStatus, *ArrivalStatus])
        ],
        rows=_ROWS,
        DEAD=str(DeliveryStatus.DEAD),
        PENDING=str(DeliveryStatus.PENDING),
    )


@OPERATION_PAGES.page("POST", "/deliveries/retry", right=Right.MANAGE)
def retry_delivery(visit: Visit) -> Response:
    """Makes an event due now, or all dead ones."""
    event_id = _id(visit)
    changed = deliveries.retry(
        visit.services.sessions, event_id=None if event_id is None else EventId(event_id), by=visit.staff.actor
    )
    if changed:
        visit.services.wake_ups.deliveries()
    return visit.redirect(f"/deliveries?retried={len(changed)}")


@OPERATION_PAGES.page("POST", "/arrivals/retry", right=Right.MANAGE)
def retry_arrival(visit: Visit) -> Response:
    """Makes a message due now that is read on another system, or all dead ones."""
    arrival_id = _id(visit)
    changed = arrivals.retry(
        visit.services.sessions, arrival_id=None if arrival_id is None else ArrivalId(arrival_id), by=visit.staff.actor
    )
    if changed:
        visit.services.wake_ups.arrivals()
    return visit.redirect(f"/deliveries?retried={len(changed)}")


@OPERATION_PAGES.page("GET", "/runs", right=Right.MANAGE)
def show_runs(visit: Visit) -> Response:
    """Training and rescoring runs. While one is open, the page loads again by itself for some minutes."""
    found = runs.list_runs(visit.services.sessions, limit=_ROWS)
    left = _refreshes_left(visit.request.query_params.get("left", str(_REFRESHES)))
    is_refreshed = left > 0 and any(run.is_open for run in found)
    response = visit.render(
        _RUNS,
        runs=found,
        waits=find_waits(visit.services, found),
        is_refreshed=is_refreshed,
        has_open=any(r.is_open for r in found),
    )
    if is_refreshed:
        _refresh(response, "/runs", left)
    return response


@OPERATION_PAGES.page("GET", "/runs/{run_id:uuid}", right=Right.MANAGE)
def show_run(visit: Visit) -> Response:
    """A run with its learning curve. While it is open, the page loads again by itself for some minutes."""
    run = runs.find_run(visit.services.sessions, RunId(visit.uuid("run_id")))
    left = _refreshes_left(visit.request.query_params.get("left", str(_REFRESHES)))
    words = CurveWords(*(visit.texts(f"run.{word.name}") for word in fields(CurveWords)))
    response = visit.render(
        _RUN,
        run=run,
        wait=find_waits(visit.services, [run]).get(run.id),
        charts=learning_charts(run.epochs, words),
        is_refreshed=left > 0 and run.is_open,
    )
    if left > 0 and run.is_open:
        _refresh(response, f"/runs/{run.id}", left)
    return response


def _refresh(response: Response, path: str, left: int) -> None:
    response.headers["Refresh"] = f"{_REFRESH_SECONDS}; url={PATH}{path}?left={left - 1}"


def _dead_first(rows: Any) -> list[Any]:
    return sorted(rows, key=lambda each: (each.status != "dead", -each.created_at.timestamp()))


def _refreshes_left(text: str) -> int:
    try:
        return min(int(text), _REFRESHES)
    except ValueError:
        return 0


def _id(visit: Visit) -> UUID | None:
    """The id in the form; None for all dead ones."""
    text = visit.field("id")
    if text == "dead":
        return None
    try:
        return UUID(text)
    except ValueError:
        raise UsageError("the form is incomplete: load the page again") from None
