"""Migrations from code: upgrade, and whether the database is what this release expects."""

from functools import cache
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from triage.storage import roles
from triage.storage.database import outdated_tables

_PACKAGE: Final = Path(__file__).resolve().parents[1]
_INSTALLED: Final = _PACKAGE / "migrations"
MIGRATIONS: Final = _INSTALLED if _INSTALLED.is_dir() else _PACKAGE.parent / "migrations"
"""Inside the package where it was installed from a wheel, beside it in a checkout."""


def alembic_config(engine: Engine | None = None) -> Config:
    """Alembic over this engine, with no file of its own; without one it can read the migrations alone."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["engine"] = engine
    return config


def upgrade(engine: Engine, revision: str = "head") -> None:
    """Brings the tables to a revision, and each role's rights with them. Two at once wait for each other."""
    command.upgrade(alembic_config(engine), revision)
    if is_current(engine):
        roles.grant(engine)


def downgrade(engine: Engine, revision: str) -> None:
    """Takes the tables back to a revision."""
    command.downgrade(alembic_config(engine), revision)


def is_current(engine: Engine) -> bool:
    """Whether the database has this release's tables."""
    with engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision() == head()


def check_not_behind(session: Session) -> None:
    """Refuses tables of an older release. Those of a newer one will do: it only adds to what this one uses.

    Raises:
        TablesOutdatedError: the tables lack what this release needs.
    """
    if session.scalar(text("SELECT version_num FROM alembic_version")) in _older_revisions():
        raise outdated_tables()


@cache
def _older_revisions() -> frozenset[str | None]:
    """Those before this release's; None is a database without any."""
    script = ScriptDirectory.from_config(alembic_config())
    revisions = {revision.revision for revision in script.walk_revisions()}
    return frozenset({None, *revisions} - {script.get_current_head()})


def head() -> str | None:
    """The newest revision of this release."""
    return ScriptDirectory.from_config(alembic_config()).get_current_head()
