"""`triage staff`: who may use the staff console."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import click

from triage.domain.staff import MEANINGS, MIN_PASSWORD, Role
from triage.errors import UsageError
from worker.cli.commands import group
from worker.cli.options import by_option
from worker.cli.output import count, json_option, local_time, print_document
from worker.cli.tables import Column, print_line, print_table
from worker.services import open_services

if TYPE_CHECKING:
    from triage.domain.staff import StaffMember

_MAX_LINE: Final = 1000
_ROLES: Final = click.Choice([role.value for role in Role])
_ROLE_HELP: Final = f"What the account may do. {'; '.join(f'{role}: {text}' for role, text in MEANINGS.items())}."


@group()
def staff() -> None:
    """Add, list, change and disable accounts of the staff console."""


@staff.command()
@click.argument("name")
@click.option("--role", type=_ROLES, required=True, help=_ROLE_HELP)
@by_option("Who adds it")
@json_option
def add(name: str, role: str, by: str, *, as_json: bool) -> None:
    """Add an account with a password, which is asked for, or read as a line of standard input."""
    with _needs_web():
        from triage.staff import accounts  # deferred: imports SQLAlchemy and argon2

    with open_services() as services:
        member = accounts.add(services.sessions, name, Role(role), password=_new_password(), by=by)
    _show(member, f"added as {member.role}", as_json=as_json)


@staff.command("list")
@json_option
def list_(*, as_json: bool) -> None:
    """Show all accounts, disabled ones included. No password is shown."""
    with _needs_web():
        from triage.staff import accounts  # deferred: imports SQLAlchemy and argon2
    from worker.documents.staff import StaffDocument  # deferred: imports pydantic

    with open_services() as services:
        members = accounts.list_accounts(services.sessions)
    if as_json:
        print_document([StaffDocument.of(member) for member in members])
        return
    print_table(
        ("account", "role", "state", "login", Column("last seen", 1), Column("added", 2)),
        (
            (
                member.name,
                member.role.value,
                "disabled" if member.disabled_at else "active",
                "identity provider" if member.issuer else "password",
                local_time(member.seen_at) if member.seen_at else None,
                local_time(member.created_at),
            )
            for member in members
        ),
    )


@staff.command()
@click.argument("name")
@click.argument("role", type=_ROLES)
@by_option("Who changes it")
@json_option
def role(name: str, role: str, by: str, *, as_json: bool) -> None:
    """Change what an account may do, also in its open sessions."""
    with _needs_web():
        from triage.staff import accounts  # deferred: imports SQLAlchemy and argon2

    with open_services() as services:
        member = accounts.change_role(services.sessions, name, Role(role), by=by)
    _show(member, member.role.value, as_json=as_json)


@staff.command()
@click.argument("name")
@by_option("Who changes it")
@json_option
def password(name: str, by: str, *, as_json: bool) -> None:
    """Give an account another password, which is asked for or read from standard input. Ends its sessions."""
    with _needs_web():
        from triage.staff import accounts  # deferred: imports SQLAlchemy and argon2

    with open_services() as services:
        member = accounts.change_password(services.sessions, name, password=_new_password(), by=by)
    _show(member, "password changed, sessions ended", as_json=as_json)


@staff.command()
@click.argument("name")
@by_option("Who disables it")
@json_option
def disable(name: str, by: str, *, as_json: bool) -> None:
    """End the sessions of an account and refuse every later login."""
    with _needs_web():
        from triage.staff import accounts  # deferred: imports SQLAlchemy and argon2

    with open_services() as services:
        member = accounts.disable(services.sessions, name, by=by)
    _show(member, "disabled", as_json=as_json)


@staff.command("end-sessions")
@click.argument("name")
@by_option("Who ends them")
def end_sessions(name: str, by: str) -> None:
    """End the sessions of an account, which may log in again."""
    with _needs_web():
        from triage.staff import accounts  # deferred: imports SQLAlchemy and argon2

    with open_services() as services:
        ended = accounts.end_sessions(services.sessions, name, by=by)
    print_line(f"account {name}: {count(ended, 'session')} ended")


def _show(member: "StaffMember", text: str, *, as_json: bool) -> None:
    if as_json:
        from worker.documents.staff import StaffDocument  # deferred: imports pydantic

        print_document(StaffDocument.of(member))
    else:
        print_line(f"account {member.name}: {text}")


def _new_password() -> str:
    """Never an argument: other users of the machine can read those."""
    if sys.stdin is not None and sys.stdin.isatty():
        password: str = click.prompt(
            f"Password, at least {MIN_PASSWORD} characters", hide_input=True, confirmation_prompt=True, err=True
        )
        return password
    try:
        line = "" if sys.stdin is None else sys.stdin.readline(_MAX_LINE).rstrip("\r\n")
    except (OSError, ValueError):
        line = ""
    if not line:
        raise UsageError("no password: type it, or send it as a line to standard input")
    return line


@contextmanager
def _needs_web() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        raise UsageError("the staff console is not installed: install the extra `web` of this product") from error
