"""Messages of other systems as rows with leases, and how far each system was searched."""

from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import Final

from sqlalchemy import (
    ColumnElement,
    Float,
    Integer,
    Text,
    Update,
    Uuid,
    and_,
    case,
    delete,
    func,
    null,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from triage.domain import arrivals as domain
from triage.domain.arrivals import ArrivalResult, ClaimedArrival, CountedArrivals, Events, Search
from triage.domain.ids import ArrivalId, LeaseToken, new_id
from triage.domain.states import ArrivalError, ArrivalStatus
from triage.storage.database import recordset
from triage.storage.tables import DEAD_ARRIVAL, READ_ARRIVAL, UNREAD_ARRIVAL, Arrival, ArrivalSource

_ROWS: Final = 1000
"""Of one statement, whose number of parameters is limited."""
_NO_SYNC: Final = {"synchronize_session": False}


def announce(session: Session, source: str, versions: Mapping[str, str | None]) -> int:
    """Makes messages due that are new, or of which another version may be there; returns their number.

    Args:
        session: of the caller's transaction.
        source: the system that holds them.
        versions: by reference; None if the version is not known, so that the message is read in any case.
    """
    references = sorted(versions)  # so that two callers cannot block each other
    steps = (references[n : n + _ROWS] for n in range(0, len(references), _ROWS))
    return sum(_announce(session, source, {each: versions[each] for each in step}) for step in steps)


def _announce(session: Session, source: str, versions: Mapping[str, str | None]) -> int:
    rows = insert(Arrival).values(
        [
            {
                "id": new_id(),
                "source": source,
                "reference": reference,
                "version": version,
                "status": ArrivalStatus.PENDING,
            }
            for reference, version in versions.items()
        ]
    )
    waits = and_(Arrival.status == ArrivalStatus.PENDING, Arrival.lease_token.is_(None))
    may_be_new = or_(rows.excluded.version.is_(None), Arrival.version.is_distinct_from(rows.excluded.version))
    is_read = Arrival.status != ArrivalStatus.PENDING
    changed = session.scalars(
        rows.on_conflict_do_update(
            index_elements=["source", "reference"],
            set_={
                "announced": Arrival.announced + 1,
                "status": ArrivalStatus.PENDING,
                "attempts": case((is_read, 0), else_=Arrival.attempts),
                "due_at": case((is_read, func.clock_timestamp()), else_=Arrival.due_at),
                "error": null(),
                "finished_at": null(),
            },
            where=and_(~waits, may_be_new),
        ).returning(Arrival.id),
        execution_options=_NO_SYNC,
    )
    return len(changed.all())


def is_due(session: Session, source: str) -> bool:
    """Whether a message of this source can be claimed now."""
    due = select(Arrival.id).where(UNREAD_ARRIVAL, Arrival.source == source, Arrival.due_at <= func.clock_timestamp())
    return session.scalars(due.limit(1)).first() is not None


def claim(session: Session, source: str, *, limit: int, lease: timedelta) -> list[ClaimedArrival]:
    """Claims due messages, the longest due first. One without a result when its lease ends is due again."""
    token = LeaseToken(new_id())
    due = (
        select(Arrival.id)
        .where(UNREAD_ARRIVAL, Arrival.source == source, Arrival.due_at <= func.clock_timestamp())
        .order_by(Arrival.due_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .cte("due")
    )
    rows = session.execute(
        update(Arrival)
        .where(Arrival.id == due.c.id)
        .values(
            attempts=func.least(Arrival.attempts + 1, 32_000),
            lease_token=token,
            due_at=func.clock_timestamp() + lease,
        )
        .returning(Arrival.id, Arrival.reference, Arrival.announced, Arrival.attempts),
        execution_options=_NO_SYNC,
    )
    return [ClaimedArrival(ArrivalId(row.id), row.reference, row.announced, row.attempts, token) for row in rows]


def record(session: Session, results: Collection[ArrivalResult]) -> int:
    """Records what was read; returns the number of results without those whose lease another reader has taken over.

    A message that was announced again while it was read is due at once. One that was not there has no version then,
    so that a search that finds it makes it due.
    """
    if not results:
        return 0
    new = recordset(
        "results",
        [
            {
                "id": each.arrival.id,
                "token": each.arrival.token,
                "announced": each.arrival.announced,
                "status": each.status.value,
                "version": each.version,
                "error": each.error and each.error.value,
                "seconds": each.retry_in.total_seconds(),
            }
            for each in results
        ],
        id=Uuid(),
        token=Uuid(),
        announced=Integer(),
        status=Text(),
        version=Text(),
        error=Text(),
        seconds=Float(),
    )
    is_read = new.c.status != ArrivalStatus.PENDING.value
    has_ended_well = new.c.status.in_([ArrivalStatus.DONE.value, ArrivalStatus.IGNORED.value])
    ends = and_(is_read, new.c.announced == Arrival.announced)
    later = func.clock_timestamp() + func.make_interval(0, 0, 0, 0, 0, 0, new.c.seconds)
    rows = session.scalars(
        update(Arrival)
        .where(
            Arrival.id == func.any([each.arrival.id for each in results]),  # for the index
            Arrival.id == new.c.id,
            Arrival.lease_token == new.c.token,
        )
        .values(
            status=case((ends, new.c.status), else_=ArrivalStatus.PENDING.value),
            version=case((has_ended_well, new.c.version), else_=Arrival.version),
            error=case((ends, new.c.error), else_=null()),
            lease_token=null(),
            due_at=later,
            attempts=case((is_read, 0), else_=Arrival.attempts),
            finished_at=case((ends, func.clock_timestamp()), else_=null()),
        )
        .returning(Arrival.id),
        execution_options=_NO_SYNC,
    )
    return len(rows.all())


def is_search_due(session: Session, source: str) -> bool:
    """Whether a source can be searched now; one that is not registered can."""
    due_at = session.scalar(select(ArrivalSource.due_at > func.clock_timestamp()).where(ArrivalSource.name == source))
    return due_at is not True


def claim_search(session: Session, source: str, *, lease: timedelta) -> Search | None:
    """Claims the search of a source if it is due. The first one begins now: earlier messages are not searched for."""
    _register(session, source)
    token = LeaseToken(new_id())
    claimed = session.execute(
        update(ArrivalSource)
        .where(ArrivalSource.name == source, ArrivalSource.due_at <= func.clock_timestamp())
        .values(lease_token=token, due_at=func.clock_timestamp() + lease)
        .returning(ArrivalSource.known_until, ArrivalSource.announced, func.clock_timestamp().label("now")),
        execution_options=_NO_SYNC,
    ).one_or_none()
    return None if claimed is None else Search(source, claimed.known_until, claimed.now, claimed.announced, token)


def hasten_search(session: Session, source: str) -> None:
    """Makes the search of a source due now or, if one runs, when that ends. A search that failed is repeated anyway."""
    _register(session, source)
    may_begin = and_(ArrivalSource.lease_token.is_(None), ~ArrivalSource.failed)
    now = func.clock_timestamp()
    session.execute(
        update(ArrivalSource)
        .where(ArrivalSource.name == source)
        .values(
            announced=ArrivalSource.announced + 1,
            due_at=case((may_begin, func.least(ArrivalSource.due_at, now)), else_=ArrivalSource.due_at),
        ),
        execution_options=_NO_SYNC,
    )


def note_events(session: Session, source: str, events: Events) -> bool:
    """Notes which events a subscription has notified of last; returns whether they follow those before.

    A repetition of the last ones follows. Others than the next ones do not, whether their numbers are higher or lower:
    some were missed, came late, or the system counts from the start again.
    """
    _register(session, source)
    found = session.execute(
        select(ArrivalSource.subscription, ArrivalSource.events).where(ArrivalSource.name == source).with_for_update()
    ).one()
    known = found.events if found.subscription == events.subscription else 0
    session.execute(
        update(ArrivalSource)
        .where(ArrivalSource.name == source)
        .values(subscription=events.subscription, events=events.last),
        execution_options=_NO_SYNC,
    )
    return events.first <= known + 1 and known <= events.last


def _register(session: Session, source: str) -> None:
    session.execute(
        insert(ArrivalSource).values(name=source, known_until=func.clock_timestamp()).on_conflict_do_nothing()
    )


def record_search(session: Session, search: Search, *, complete: bool, again_in: timedelta) -> bool:
    """Ends a search; returns whether its lease was still held.

    One that was announced during a complete search is due now. An incomplete one is repeated from where it began.
    """
    now = func.clock_timestamp()
    later = now + again_in
    ended = session.scalars(
        update(ArrivalSource)
        .where(ArrivalSource.name == search.source, ArrivalSource.lease_token == search.token)
        .values(
            known_until=search.started_at if complete else search.since,
            lease_token=null(),
            failed=not complete,
            due_at=case((ArrivalSource.announced > search.announced, now), else_=later) if complete else later,
        )
        .returning(ArrivalSource.name),
        execution_options=_NO_SYNC,
    )
    return ended.one_or_none() is not None


def searched_up_to(session: Session) -> dict[str, float]:
    """By source, the seconds since the time up to which its messages are known."""
    age = func.extract("epoch", func.clock_timestamp() - ArrivalSource.known_until)
    return {name: float(seconds) for name, seconds in session.execute(select(ArrivalSource.name, age))}


def count_by_state(session: Session) -> list[CountedArrivals]:
    """Counts what waits to be read and what is dead."""
    queries = (
        select(Arrival.source, Arrival.status, func.count(), func.min(Arrival.created_at))
        .where(state)
        .group_by(Arrival.source, Arrival.status)
        for state in (UNREAD_ARRIVAL, DEAD_ARRIVAL)
    )
    return [
        CountedArrivals(source, ArrivalStatus(status), n, oldest)
        for query in queries
        for source, status, n, oldest in session.execute(query)
    ]


def list_arrivals(
    session: Session, *, status: ArrivalStatus | None = None, source: str | None = None, limit: int
) -> list[domain.Arrival]:
    """Messages of other systems, the last announced first, optionally of one status and of one source."""
    conditions = [] if status is None else [Arrival.status == status]
    return _described(session, *conditions, *([] if source is None else [Arrival.source == source]), limit=limit)


def find(session: Session, arrival_id: ArrivalId) -> domain.Arrival | None:
    """Returns a message of another system by our id, or None."""
    return next(iter(_described(session, Arrival.id == arrival_id, limit=1)), None)


def retry(session: Session, *, arrival_id: ArrivalId | None = None, source: str | None = None) -> list[ArrivalId]:
    """Makes messages due now, unless one is being read; returns their ids.

    Args:
        session: of the caller's transaction.
        arrival_id: a message that is dead or waits to be read again; if None, all dead ones.
        source: only messages of this source.
    """
    is_in_flight = Arrival.lease_token.is_not(None) & (Arrival.due_at > func.clock_timestamp())
    change = update(Arrival).values(
        status=ArrivalStatus.PENDING,
        attempts=0,
        due_at=func.clock_timestamp(),
        lease_token=null(),
        error=null(),
        finished_at=null(),
    )
    return _change(session, change.where(~is_in_flight), arrival_id, source)


def drop(session: Session, *, arrival_id: ArrivalId | None = None, source: str | None = None) -> list[ArrivalId]:
    """Gives messages up until they change on their system; returns their ids.

    Args:
        session: of the caller's transaction.
        arrival_id: a message that is dead or waits; if None, all dead ones.
        source: only messages of this source.
    """
    given_up = update(Arrival).values(
        status=ArrivalStatus.IGNORED, lease_token=null(), error=null(), finished_at=func.clock_timestamp()
    )
    return _change(session, given_up, arrival_id, source)


def _change(session: Session, change: Update, arrival_id: ArrivalId | None, source: str | None) -> list[ArrivalId]:
    chosen = DEAD_ARRIVAL if arrival_id is None else and_(or_(UNREAD_ARRIVAL, DEAD_ARRIVAL), Arrival.id == arrival_id)
    conditions = [chosen, *([] if source is None else [Arrival.source == source])]
    rows = session.scalars(change.where(*conditions).returning(Arrival.id), execution_options=_NO_SYNC)
    return [ArrivalId(row) for row in rows.all()]


def _described(session: Session, *conditions: ColumnElement[bool], limit: int) -> list[domain.Arrival]:
    rows = session.scalars(select(Arrival).where(*conditions).order_by(Arrival.id.desc()).limit(limit))
    return [
        domain.Arrival(
            id=ArrivalId(row.id),
            source=row.source,
            reference=row.reference,
            status=ArrivalStatus(row.status),
            attempts=row.attempts,
            error=ArrivalError(row.error) if row.error else None,
            created_at=row.created_at,
            due_at=row.due_at if row.status == ArrivalStatus.PENDING else None,
            finished_at=row.finished_at,
        )
        for row in rows
    ]


def remove_read(session: Session, age: timedelta, *, limit: int) -> int:
    """Deletes what was read, or found dead, that long ago; returns the number of rows, at most the limit."""
    old = select(Arrival.id).where(READ_ARRIVAL, Arrival.finished_at < func.statement_timestamp() - age).limit(limit)
    removed = session.scalars(
        delete(Arrival).where(Arrival.id.in_(old)).returning(Arrival.id), execution_options=_NO_SYNC
    )
    return len(removed.all())
