"""Staff of the console as rows: accounts, sessions, and attempts to log in."""

from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import case, delete, exists, func, literal, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from triage.domain.ids import new_id
from triage.domain.staff import Role, StaffMember
from triage.storage.tables import LoginAttempt, Staff, StaffSession

_UNSYNCHRONISED: Final = {"synchronize_session": False}


def add(
    session: Session,
    name: str,
    role: Role,
    *,
    password_hash: str | None = None,
    issuer: str | None = None,
    subject: str | None = None,
) -> StaffMember | None:
    """Inserts an account; returns None if there is one of this name or identity."""
    values = {"id": new_id(), "name": name, "role": role.value, "password_hash": password_hash}
    insertion = insert(Staff).values(**values, issuer=issuer, subject=subject).on_conflict_do_nothing().returning(Staff)
    row = session.scalars(insertion).one_or_none()
    return None if row is None else _member(row)


def list_all(session: Session) -> list[StaffMember]:
    """All accounts by name."""
    seen = select(StaffSession.staff_id, func.max(StaffSession.seen_at).label("at")).group_by(StaffSession.staff_id)
    last = seen.subquery()
    rows = session.execute(select(Staff, last.c.at).outerjoin(last, last.c.staff_id == Staff.id).order_by(Staff.name))
    return [_member(row.Staff, row.at) for row in rows]


def find(session: Session, name: str) -> StaffMember | None:
    """The account of this name, locked until the transaction ends."""
    return _locked(session, Staff.name == name)


def find_identity(session: Session, issuer: str, subject: str) -> StaffMember | None:
    """The account of an identity, locked until the transaction ends."""
    return _locked(session, (Staff.issuer == issuer) & (Staff.subject == subject))


def password_hash_of(session: Session, name: str) -> str | None:
    """The hash of the password of an account that may log in; None without one."""
    return session.scalar(select(Staff.password_hash).where(Staff.name == name, Staff.disabled_at.is_(None)))


def set_role(session: Session, staff_id: UUID, role: Role) -> None:
    session.execute(
        update(Staff).where(Staff.id == staff_id).values(role=role.value), execution_options=_UNSYNCHRONISED
    )


def set_password(session: Session, staff_id: UUID, password_hash: str) -> None:
    change = update(Staff).where(Staff.id == staff_id).values(password_hash=password_hash)
    session.execute(change, execution_options=_UNSYNCHRONISED)


def disable(session: Session, staff_id: UUID) -> None:
    change = update(Staff).where(Staff.id == staff_id).values(disabled_at=func.clock_timestamp())
    session.execute(change, execution_options=_UNSYNCHRONISED)


def open_session(session: Session, staff_id: UUID, sha256: str, browser_sha256: str, *, keep: timedelta) -> None:
    """Records a session. Deletes those that began longer than `keep` ago."""
    old = StaffSession.created_at < func.statement_timestamp() - keep
    session.execute(delete(StaffSession).where(old), execution_options=_UNSYNCHRONISED)
    session.execute(insert(StaffSession).values(sha256=sha256, staff_id=staff_id, browser_sha256=browser_sha256))


def member_of(
    session: Session, sha256: str, *, idle: timedelta, absolute: timedelta, precision: timedelta
) -> StaffMember | None:
    """Who has the session with this hash, unless it has ended or expired, or the account is disabled.

    Args:
        session: of the caller's transaction.
        sha256: hash of the session's id.
        idle: longest time between two requests.
        absolute: longest time since the login.
        precision: the time of the last request is written again only if it is older than this.
    """
    now = func.statement_timestamp()
    row = session.execute(
        select(Staff, StaffSession.seen_at, (StaffSession.seen_at < now - precision).label("is_old"))
        .join(StaffSession, StaffSession.staff_id == Staff.id)
        .where(
            StaffSession.sha256 == sha256,
            StaffSession.ended_at.is_(None),
            StaffSession.seen_at > now - idle,
            StaffSession.created_at > now - absolute,
            Staff.disabled_at.is_(None),
        )
    ).one_or_none()
    if row is None:
        return None
    if row.is_old:
        seen = update(StaffSession).where(StaffSession.sha256 == sha256).values(seen_at=func.clock_timestamp())
        session.execute(seen, execution_options=_UNSYNCHRONISED)
    return _member(row.Staff, row.seen_at)


def end_session(session: Session, sha256: str) -> StaffMember | None:
    """Ends a session; returns whose it was, or None if there is no such open session."""
    change = (
        update(StaffSession)
        .where(StaffSession.sha256 == sha256, StaffSession.ended_at.is_(None))
        .values(ended_at=func.clock_timestamp())
        .returning(StaffSession.staff_id)
    )
    staff_id = session.scalars(change, execution_options=_UNSYNCHRONISED).one_or_none()
    return None if staff_id is None else _member(session.get_one(Staff, staff_id))


def end_sessions(session: Session, staff_id: UUID) -> int:
    """Ends the sessions of an account; returns their number."""
    change = (
        update(StaffSession)
        .where(StaffSession.staff_id == staff_id, StaffSession.ended_at.is_(None))
        .values(ended_at=func.clock_timestamp())
        .returning(StaffSession.sha256)
    )
    return len(session.scalars(change, execution_options=_UNSYNCHRONISED).all())


def knows_browser(session: Session, name: str, browser_sha256: str) -> bool:
    """Whether the account of this name has logged in from this browser before."""
    logins = select(StaffSession.sha256).join(Staff, Staff.id == StaffSession.staff_id)
    return bool(
        session.scalar(select(exists(logins.where(Staff.name == name, StaffSession.browser_sha256 == browser_sha256))))
    )


def count_attempt(session: Session, sha256: str, *, window: timedelta) -> int:
    """Counts an attempt to log in; returns how many there were since the first one within the window, this included."""
    now = func.clock_timestamp()
    expired = LoginAttempt.since < now - window
    session.execute(delete(LoginAttempt).where(expired), execution_options=_UNSYNCHRONISED)
    counting = (
        insert(LoginAttempt)
        .values(sha256=sha256)
        .on_conflict_do_update(
            index_elements=["sha256"],
            set_={
                "attempts": case((expired, literal(1)), else_=LoginAttempt.attempts + 1),
                "since": case((expired, now), else_=LoginAttempt.since),
            },
        )
        .returning(LoginAttempt.attempts)
    )
    return session.execute(counting).scalar_one()


def forget_attempts(session: Session, sha256: str) -> None:
    """Deletes the count of attempts after a login."""
    session.execute(delete(LoginAttempt).where(LoginAttempt.sha256 == sha256), execution_options=_UNSYNCHRONISED)


def _locked(session: Session, which: Any) -> StaffMember | None:
    row = session.scalars(select(Staff).where(which).with_for_update()).one_or_none()
    return None if row is None else _member(row)


def _member(row: Staff, seen_at: Any = None) -> StaffMember:
    return StaffMember(
        id=row.id,
        name=row.name,
        role=Role(row.role),
        issuer=row.issuer,
        created_at=row.created_at,
        disabled_at=row.disabled_at,
        seen_at=seen_at,
    )
