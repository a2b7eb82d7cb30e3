"""Use cases of an administrator: add and list accounts, change role and password, disable, end sessions.

Each is one transaction with its audit event. An account is never deleted, because the audit trail has its name.
"""

from sqlalchemy.orm import Session

from triage.domain.actors import check_actor
from triage.domain.staff import RIGHTS, Right, Role, StaffMember, check_password, check_staff_name
from triage.errors import NotFoundError, UsageError
from triage.staff.passwords import hash_password
from triage.storage import audit, queue, staff
from triage.storage.database import Sessions
from triage.storage.use_case import use_case


@use_case
def add(sessions: Sessions, name: str, role: Role, *, password: str, by: str) -> StaffMember:
    """Adds an account with a password.

    Args:
        sessions: of the worker role.
        name: of the account; its id in the audit trail.
        role: what it may do.
        password: at least 12 characters. Only a hash of it is stored.
        by: actor id of the administrator.

    Raises:
        UsageError: an argument is malformed, the password is easy to guess, or the name is in use.
    """
    check_staff_name(name)
    check_actor(by)
    hashed = hash_password(check_password(password, name))
    with sessions.begin() as session:
        member = staff.add(session, name, role, password_hash=hashed)
        if member is None:
            raise UsageError("an account has this name: choose another name")
        record(session, member, "staff.added", by, role=role.value)
    return member


@use_case
def list_accounts(sessions: Sessions) -> list[StaffMember]:
    """Returns all accounts by name, disabled ones included."""
    with sessions() as session:
        return staff.list_all(session)


@use_case
def change_role(sessions: Sessions, name: str, role: Role, *, by: str) -> StaffMember:
    """Changes what an account may do, also in its open sessions. Idempotent.

    Messages that were sent to an account that may no longer decide are everyone's again.

    Raises:
        UsageError: no account has this name, it is disabled, or its identity provider gives it the role.
    """
    check_actor(by)
    with sessions.begin() as session:
        member = _local(session, name)
        if member.role is not role:
            set_role(session, member, role, by=by)
            session.expire_all()
        return _find(session, name)


@use_case
def change_password(sessions: Sessions, name: str, *, password: str, by: str) -> StaffMember:
    """Gives an account another password and ends its sessions.

    Raises:
        UsageError: no account has this name, it is disabled or has no password, or the password is malformed or easy
            to guess.
    """
    check_actor(by)
    hashed = hash_password(check_password(password, check_staff_name(name)))
    with sessions.begin() as session:
        member = _local(session, name)
        staff.set_password(session, member.id, hashed)
        ended = staff.end_sessions(session, member.id)
        record(session, member, "staff.password_changed", by, sessions_ended=ended)
    return member


@use_case
def disable(sessions: Sessions, name: str, *, by: str) -> StaffMember:
    """Ends the sessions of an account and refuses every later login. Idempotent. Its name stays in use.

    Messages that were sent to it are everyone's again.

    Raises:
        UsageError: no account has this name, or `by` is malformed.
    """
    check_actor(by)
    with sessions.begin() as session:
        member = _find(session, name)
        if member.disabled_at is None:
            staff.disable(session, member.id)
            ended = staff.end_sessions(session, member.id)
            returned = queue.unassign(session, of=member.actor)
            record(session, member, "staff.disabled", by, sessions_ended=ended, messages_returned=returned)
            session.expire_all()
        return _find(session, name)


@use_case
def end_sessions(sessions: Sessions, name: str, *, by: str) -> int:
    """Ends the sessions of an account, which may log in again. Returns their number.

    Raises:
        UsageError: no account has this name, or `by` is malformed.
    """
    check_actor(by)
    with sessions.begin() as session:
        member = _find(session, name)
        ended = staff.end_sessions(session, member.id)
        if ended:
            record(session, member, "staff.sessions_ended", by, sessions_ended=ended)
    return ended


def set_role(session: Session, member: StaffMember, role: Role, *, by: str) -> None:
    """Changes the role in the caller's transaction, with its audit event. The caller holds the lock of the account."""
    staff.set_role(session, member.id, role)
    returned = 0 if Right.DECIDE in RIGHTS[role] else queue.unassign(session, of=member.actor)
    record(session, member, "staff.role_changed", by, role=role.value, messages_returned=returned)


def record(session: Session, member: StaffMember, action: str, by: str, **details: object) -> None:
    """Appends an audit event about an account."""
    audit.record(session, actor=by, action=action, subject_kind="staff", subject_id=member.id, **details)


def _find(session: Session, name: str) -> StaffMember:
    member = staff.find(session, check_staff_name(name))
    if member is None:
        raise NotFoundError("no account has this name: list the accounts")
    return member


def _local(session: Session, name: str) -> StaffMember:
    member = _find(session, name)
    if member.disabled_at is not None:
        raise UsageError("the account is disabled: add a new one")
    if member.issuer is not None:
        raise UsageError("the account belongs to the identity provider: change it there")
    return member
