"""Staff who use the console: their roles, what these allow, and the form of names and passwords."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

from triage.domain.text import is_plain
from triage.errors import UsageError

MIN_PASSWORD: Final = 12
MAX_PASSWORD: Final = 128

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,54}")
STAFF_PREFIX: Final = "staff:"
"""Keeps actor ids of staff apart from those of clients and commands."""


class Role(StrEnum):
    """Stable names: settings and identity providers rely on them. Each role has the rights of the one before it."""

    READER = "reader"
    REVIEWER = "reviewer"
    MANAGER = "manager"
    ADMINISTRATOR = "administrator"


class Right(StrEnum):
    """What a role allows in the console."""

    SEE = "see"
    DECIDE = "decide"
    MANAGE = "manage"
    ADMINISTER = "administer"


RIGHTS: Final[Mapping[Role, frozenset[Right]]] = {
    Role.READER: frozenset({Right.SEE}),
    Role.REVIEWER: frozenset({Right.SEE, Right.DECIDE}),
    Role.MANAGER: frozenset({Right.SEE, Right.DECIDE, Right.MANAGE}),
    Role.ADMINISTRATOR: frozenset(Right),
}

MEANINGS: Final[Mapping[Role, str]] = {
    Role.READER: "see the queue, messages and photos, appeal against requests",
    Role.REVIEWER: "also claim and decide messages, create photo reviews and vote in them",
    Role.MANAGER: "also see and change models, runs and deliveries, act on claims, decisions and reviews of others",
    Role.ADMINISTRATOR: "also list accounts and end their sessions",
}
"""One line on each role."""


@dataclass(frozen=True, slots=True)
class StaffMember:
    """An account.

    Attributes:
        name: its id in the audit trail, without the prefix.
        issuer: the identity provider that authenticates it; None for an account with a password.
        seen_at: the last request of any of its sessions.
    """

    id: UUID
    name: str
    role: Role
    issuer: str | None
    created_at: datetime
    disabled_at: datetime | None
    seen_at: datetime | None = None

    @property
    def actor(self) -> str:
        """The actor id for the audit trail."""
        return f"{STAFF_PREFIX}{self.name}"

    def may(self, right: Right) -> bool:
        """Whether the role has the right."""
        return right in RIGHTS[self.role]


def check_staff_name(name: str) -> str:
    """Returns the name of an account unchanged. With its prefix it is an actor id.

    Raises:
        UsageError: it is malformed.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise UsageError("invalid staff name: use 1 to 55 letters, digits or `._@-` (stored permanently)")
    return name


def check_password(password: str, name: str) -> str:
    """Returns a new password unchanged. Length is what makes a password strong, so no kinds of characters are required.

    Raises:
        UsageError: it is too short or too long, has control characters, or contains the name. The error omits it.
    """
    if not isinstance(password, str) or not MIN_PASSWORD <= len(password) <= MAX_PASSWORD or not is_plain(password):
        raise UsageError(
            f"invalid password: use {MIN_PASSWORD} to {MAX_PASSWORD} characters, without control characters"
        )
    if name.casefold() in password.casefold() or len(set(password)) < MIN_PASSWORD // 2:
        raise UsageError("the password is easy to guess: use several words, without the name of the account")
    return password
