"""Login, sessions and logout. The id of a session is random (256 bits), so a plain hash of it is stored.

Attempts are counted for an account and the browser that it has logged in from before, or else the network address.
So failures of others do not lock a person out of the browser that the person uses. Attempts with any names from one
address are counted too, because the check of a password takes a tenth of a second and 64 MiB.
"""

import secrets
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Final

from sqlalchemy.orm import Session

from triage.domain.staff import MAX_PASSWORD, Role, StaffMember, check_staff_name
from triage.errors import UsageError
from triage.files.hashing import sha256_of
from triage.staff.accounts import record, set_role
from triage.staff.passwords import is_password
from triage.storage import staff
from triage.storage.database import Sessions
from triage.storage.use_case import use_case

MAX_ATTEMPTS: Final = 10
MAX_ATTEMPTS_OF_ADDRESS: Final = 100
ATTEMPT_WINDOW: Final = timedelta(minutes=15)

_KEEP: Final = timedelta(days=90)
"""How long a browser is remembered."""

_PRECISION: Final = timedelta(minutes=1)
_MAX_TEXT: Final = 255


class Refusal(StrEnum):
    """Why a login is refused. A wrong name, a wrong password and a disabled account look the same."""

    WRONG = "wrong"
    TOO_MANY = "too_many"
    NAME_IN_USE = "name_in_use"


@dataclass(frozen=True, slots=True)
class NewSession:
    """A session that begins.

    Attributes:
        token: its id, for a cookie.
        browser: the id by which the browser is recognised at the next login, for another cookie.
    """

    member: StaffMember
    token: str = field(repr=False)
    browser: str = field(repr=False)


@use_case
def login(sessions: Sessions, name: str, password: str, *, browser: str | None, address: str) -> NewSession | Refusal:
    """Begins a session for a name and a password.

    Args:
        sessions: of the worker role.
        name: as typed.
        password: as typed.
        browser: the id that an earlier login gave this browser.
        address: network address of the browser.

    Returns:
        The session, or why there is none. After 10 failures of an account within 15 minutes, the next attempts from
        there are refused without a check, and after 100 attempts from an address those of all browsers from which the
        account has not logged in before.
    """
    is_sound = _is_name(name) and len(password) <= MAX_PASSWORD
    with sessions.begin() as session:
        known = is_sound and browser is not None and staff.knows_browser(session, name, _sha256(browser))
        if not known:
            tried = staff.count_attempt(session, _sha256(address), window=ATTEMPT_WINDOW)
            if tried > MAX_ATTEMPTS_OF_ADDRESS:
                return Refusal.TOO_MANY
        if not is_sound:
            return Refusal.WRONG
        place = _sha256("\0".join((name, "browser" if known else "address", browser if known and browser else address)))
        if staff.count_attempt(session, place, window=ATTEMPT_WINDOW) > MAX_ATTEMPTS:
            return Refusal.TOO_MANY
        stored = staff.password_hash_of(session, name)
    if not is_password(password, stored):  # outside a transaction: it takes a tenth of a second
        return Refusal.WRONG
    with sessions.begin() as session:
        member = staff.find(session, name)
        if member is None or member.disabled_at or staff.password_hash_of(session, name) != stored:
            return Refusal.WRONG  # changed at the same time
        staff.forget_attempts(session, place)
        return _begin(session, member, browser)


@use_case
def login_identity(
    sessions: Sessions, *, issuer: str, subject: str, name: str, role: Role, browser: str | None
) -> NewSession | Refusal:
    """Begins a session for a person whom the identity provider has authenticated. The first login adds the account.

    Args:
        sessions: of the worker role.
        issuer: the identity provider.
        subject: its permanent id of the person.
        name: of a new account; ignored later.
        role: replaces that of the account.
        browser: the id that an earlier login gave this browser.

    Returns:
        The session, or why there is none.

    Raises:
        UsageError: an argument is malformed.
    """
    check_staff_name(name)
    if not 1 <= len(subject) <= _MAX_TEXT or not 1 <= len(issuer) <= _MAX_TEXT:
        raise UsageError(f"invalid identity: the issuer and the subject need 1 to {_MAX_TEXT} characters")
    with sessions.begin() as session:
        member = staff.find_identity(session, issuer, subject)
        if member is None:
            member = staff.add(session, name, role, issuer=issuer, subject=subject)
            if member is None:
                return Refusal.NAME_IN_USE
            record(session, member, "staff.added", member.actor, role=role.value)
        if member.disabled_at is not None:
            return Refusal.WRONG
        if member.role is not role:
            set_role(session, member, role, by=member.actor)
            session.expire_all()
            member = staff.find_identity(session, issuer, subject) or member
        return _begin(session, member, browser)


@use_case
def member_of(sessions: Sessions, token: str, *, idle: timedelta, absolute: timedelta) -> StaffMember | None:
    """Returns who has this session; None if it is unknown, has ended or expired, or its account is disabled."""
    with sessions.begin() as session:
        return staff.member_of(session, _sha256(token), idle=idle, absolute=absolute, precision=_PRECISION)


@use_case
def logout(sessions: Sessions, token: str) -> None:
    """Ends a session. Idempotent."""
    with sessions.begin() as session:
        member = staff.end_session(session, _sha256(token))
        if member is not None:
            record(session, member, "staff.logged_out", member.actor)


def _begin(session: Session, member: StaffMember, browser: str | None) -> NewSession:
    """The browser keeps its id only if the account has logged in from it before: others may know any other id."""
    known = browser if browser is not None and staff.knows_browser(session, member.name, _sha256(browser)) else None
    new = NewSession(member, secrets.token_urlsafe(32), known or secrets.token_urlsafe(32))
    staff.open_session(session, member.id, _sha256(new.token), _sha256(new.browser), keep=_KEEP)
    record(session, member, "staff.logged_in", member.actor)
    return new


def _is_name(name: str) -> bool:
    try:
        return bool(check_staff_name(name))
    except UsageError:
        return False


def _sha256(text: str) -> str:
    return sha256_of(text.encode("utf-8", "surrogatepass"))
