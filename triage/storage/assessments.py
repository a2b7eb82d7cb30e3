"""Assessments in progress: a row each, for the few seconds that somebody waits. The table is small and not logged."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session
from sqlalchemy.types import Uuid

from triage.domain.assessments import PhotoAnswer
from triage.domain.ids import new_id
from triage.domain.replies import PhotoReason
from triage.domain.states import FindingKind, FindingLevel
from triage.errors import ErrorCode
from triage.storage.announcements import ASSESSED
from triage.storage.database import recordset
from triage.storage.tables import Assessment

_IS_OVER: Final = Assessment.expires_at <= func.clock_timestamp()


def add(session: Session, *, patience: timedelta) -> UUID:
    """Adds an assessment, which no worker takes before `make_ready`, and returns its id.

    Args:
        session: of the caller's transaction.
        patience: how long somebody waits for it.
    """
    row = Assessment(id=new_id(), expires_at=func.clock_timestamp() + patience)
    session.add(row)
    return row.id


def make_ready(session: Session, id_: UUID) -> None:
    """Lets workers take an assessment: its photo is stored."""
    session.execute(update(Assessment).where(Assessment.id == id_).values(is_ready=True))


def count_waiting(session: Session) -> int:
    """The number of assessments that wait for an answer."""
    waiting = select(func.count()).select_from(Assessment).where(Assessment.answer.is_(None), ~_IS_OVER)
    return session.scalar(waiting) or 0


def claim(session: Session, *, limit: int) -> list[UUID]:
    """Takes assessments, oldest first, and returns their ids. None is taken twice."""
    waiting = (
        select(Assessment.id)
        .where(Assessment.is_ready, ~Assessment.is_taken, ~_IS_OVER)
        .order_by(Assessment.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .cte("waiting")
    )
    taken = session.scalars(
        update(Assessment).where(Assessment.id == waiting.c.id).values(is_taken=True).returning(Assessment.id),
        execution_options={"synchronize_session": False},
    )
    return sorted(taken)


def release(session: Session, ids: Sequence[UUID]) -> None:
    """Lets another worker take these assessments."""
    session.execute(update(Assessment).where(Assessment.id == func.any(list(ids))).values(is_taken=False))


def answer(session: Session, answers: Mapping[UUID, PhotoAnswer]) -> None:
    """Stores answers and announces each after the commit. An answer that is no longer awaited is dropped."""
    rows = recordset(
        "answers",
        [{"id": str(id_), "answer": asdict(each)} for id_, each in answers.items()],
        id=Uuid(),
        answer=JSONB(),
    )
    stored = session.scalars(
        update(Assessment).where(Assessment.id == rows.c.id).values(answer=rows.c.answer).returning(Assessment.id),
        execution_options={"synchronize_session": False},
    ).all()
    for id_ in stored:
        session.execute(select(func.pg_notify(ASSESSED, str(id_))))


def find_answer(session: Session, id_: UUID) -> PhotoAnswer | None:
    """The answer, or None while there is none."""
    found = session.scalar(select(Assessment.answer).where(Assessment.id == id_))
    if found is None:
        return None
    reasons = [PhotoReason(FindingKind(each["kind"]), FindingLevel(each["severity"])) for each in found["reasons"]]
    code = found["error_code"]
    return PhotoAnswer(**found | {"reasons": reasons, "error_code": ErrorCode(code) if code else None})


def remove(session: Session, ids: Sequence[UUID]) -> None:
    """Deletes assessments."""
    session.execute(delete(Assessment).where(Assessment.id == func.any(list(ids))))


def expired(session: Session) -> list[UUID]:
    """The assessments that are no longer awaited."""
    return list(session.scalars(select(Assessment.id).where(_IS_OVER)))
