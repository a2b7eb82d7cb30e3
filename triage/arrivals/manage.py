"""Use cases of people for messages that other systems hold: list, retry, drop.

Each change is one transaction with its audit event.
"""

from collections.abc import Callable, Sequence

from sqlalchemy.orm import Session

from triage.domain.actors import check_actor
from triage.domain.arrivals import Arrival
from triage.domain.ids import ArrivalId
from triage.domain.states import ArrivalStatus
from triage.errors import NotFoundError, UsageError
from triage.storage import arrivals, audit
from triage.storage.database import Sessions
from triage.storage.use_case import use_case


@use_case
def list_arrivals(
    sessions: Sessions, *, status: ArrivalStatus | None = None, source: str | None = None, limit: int
) -> list[Arrival]:
    """Returns messages of other systems, the last announced first, optionally of one status and of one source only."""
    with sessions() as session:
        return arrivals.list_arrivals(session, status=status, source=source, limit=limit)


@use_case
def retry(
    sessions: Sessions, *, arrival_id: ArrivalId | None = None, source: str | None = None, by: str
) -> Sequence[ArrivalId]:
    """Makes a message due now that is dead or waits to be read again, or all dead ones.

    Args:
        sessions: of the worker role.
        arrival_id: the message, by our id; if None, all dead ones.
        source: only messages of this source.
        by: actor id for the audit trail.

    Returns:
        The messages that are due now.

    Raises:
        UsageError: `by` is malformed, or the message is unknown, read, ignored or being read now.
    """
    return _change(sessions, arrivals.retry, "retried", arrival_id, source, by)


@use_case
def drop(
    sessions: Sessions, *, arrival_id: ArrivalId | None = None, source: str | None = None, by: str
) -> Sequence[ArrivalId]:
    """Gives up a message that is dead or waits, or all dead ones. It is ignored until it changes on its system.

    Args:
        sessions: of the worker role.
        arrival_id: the message, by our id; if None, all dead ones.
        source: only messages of this source.
        by: actor id for the audit trail.

    Returns:
        The messages that are dropped now.

    Raises:
        UsageError: `by` is malformed, or the message is unknown, read or ignored already.
    """
    return _change(sessions, arrivals.drop, "dropped", arrival_id, source, by)


def _change(
    sessions: Sessions,
    change: Callable[..., list[ArrivalId]],
    verb: str,
    arrival_id: ArrivalId | None,
    source: str | None,
    by: str,
) -> list[ArrivalId]:
    check_actor(by)
    with sessions.begin() as session:
        changed = change(session, arrival_id=arrival_id, source=source)
        if arrival_id is not None and not changed:
            raise _why_not(session, arrival_id, verb)
        audit.record_change_of(
            session, actor=by, verb=verb, kind="arrival", kinds="arrivals", one=arrival_id, n_changed=len(changed)
        )
    return changed


def _why_not(session: Session, arrival_id: ArrivalId, verb: str) -> UsageError:
    found = arrivals.find(session, arrival_id)
    if found is None:
        return NotFoundError("no arrival has this id: list the arrivals and check the id")
    if found.status is ArrivalStatus.PENDING:
        return UsageError("the message is being read now: list it again in a minute")
    return UsageError(f"the arrival cannot be {verb}: it is {found.status.value}")
