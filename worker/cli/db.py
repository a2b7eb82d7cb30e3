"""`triage db`: the database's tables."""

import click

from triage.errors import TriageError
from triage.storage import migrate
from worker.process import services


@click.group()
def db() -> None:
    """Bring the database's tables up to date, and check that they are."""


@db.command()
def upgrade() -> None:
    """Apply the migrations that are missing."""
    migrate.upgrade(services().engine)
    click.echo("the database is up to date")


@db.command()
def check() -> None:
    """Exit 1 unless the database has exactly the tables that this release declares."""
    from alembic import command
    from alembic.util.exc import CommandError

    engine = services().engine
    if not migrate.is_current(engine):
        raise TriageError("the database is not up to date: run `triage db upgrade`")
    try:
        command.check(migrate.alembic_config(engine))
    except CommandError as error:
        raise TriageError("the database's tables are not those of this release: restore or migrate them") from error
    click.echo("the database is up to date")
