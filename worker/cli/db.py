"""`triage db`: roles and schema of the database."""

import click

from triage.errors import TablesOutdatedError, TriageError
from triage.storage.role_names import MIGRATOR, REPORT, ROLES, WORKER
from worker.cli.commands import group
from worker.cli.owner import administration_engine
from worker.cli.tables import print_line
from worker.hints import with_hint


@group()
def db() -> None:
    """Create the database's roles, upgrade its schema and check both."""


@db.command()
@click.option("--sql", "only_print", is_flag=True, help="Print the statements, without passwords.")
def roles(*, only_print: bool) -> None:
    """Create the roles of the database, as a superuser.

    The roles are triage_migrator (owns the tables), triage_worker and triage_report. Passwords come from
    TRIAGE_ROLES__MIGRATOR_PASSWORD, TRIAGE_ROLES__WORKER_PASSWORD and TRIAGE_ROLES__REPORT_PASSWORD. The command is
    idempotent: running it again restores what was changed by hand.
    """
    from sqlalchemy.engine import make_url  # deferred: SQLAlchemy

    from triage.storage import roles as database_roles  # deferred: imports SQLAlchemy
    from worker.settings import load_settings  # deferred: imports pydantic-settings

    settings = load_settings()
    if only_print:
        url = settings.administration_url("postgres")
        for statement in database_roles.creation(str(make_url(url).database)):
            for line in f"{statement};".split("\n"):
                print_line(line)
        return
    secrets = {
        MIGRATOR: settings.roles.migrator_password,
        WORKER: settings.roles.worker_password,
        REPORT: settings.roles.report_password,
    }
    with administration_engine("postgres") as engine:
        database_roles.create(engine, {role: s.get_secret_value() for role, s in secrets.items() if s})
    print_line(f"roles: {', '.join(ROLES)}")


@db.command()
def upgrade() -> None:
    """Apply pending migrations, as the role that owns the tables."""
    from triage.storage import migrate  # deferred: imports Alembic

    with administration_engine() as engine:
        migrate.upgrade(engine)
    print_line("the database is up to date")


@db.command()
def check() -> None:
    """Check that the database has the schema of this release.

    Exits with 1 if any table, column or index differs.
    """
    from alembic import command as alembic_command  # deferred: Alembic
    from alembic.util.exc import CommandError  # deferred: Alembic

    from triage.storage import migrate  # deferred: imports Alembic

    try:
        with administration_engine() as engine:
            migrate.check_current(engine)
            alembic_command.check(migrate.alembic_config(engine))
    except TablesOutdatedError as error:
        raise TriageError(with_hint(error)) from error
    except CommandError as error:
        raise TriageError("the database schema differs from this release: restore or migrate it") from error
    print_line("the database is up to date")
