"""Schema migrations from code, and checks of a database against the schema of this release."""

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
"""Inside the package when installed from a wheel, next to it in a checkout."""


def alembic_config(engine: Engine | None = None) -> Config:
    """An Alembic configuration without an ini file. Without an engine it can only read the migration scripts."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["engine"] = engine
    return config


def upgrade(engine: Engine, revision: str = "head") -> None:
    """Upgrades the schema to a revision; at the head, also grants each role its privileges.

    Concurrent upgrades run one after another.
    """
    command.upgrade(alembic_config(engine), revision)
    if is_current(engine):
        roles.grant(engine)


def downgrade(engine: Engine, revision: str) -> None:
    """Downgrades the schema to a revision."""
    command.downgrade(alembic_config(engine), revision)


def is_current(engine: Engine) -> bool:
    """Whether the database schema is exactly that of this release."""
    with engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision() == head()


def check_not_behind(session: Session) -> None:
    """Rejects the schema of an older release.

    The schema of a newer release is accepted, because its migrations stay compatible with this release.

    Raises:
        TablesOutdatedError: the schema is older than this release requires.
    """
    if session.scalar(text("SELECT version_num FROM alembic_version")) in _older_revisions():
        raise outdated_tables()


@cache
def _older_revisions() -> frozenset[str | None]:
    """The revisions before the head; None stands for a database without a revision."""
    script = ScriptDirectory.from_config(alembic_config())
    revisions = {revision.revision for revision in script.walk_revisions()}
    return frozenset({None, *revisions} - {script.get_current_head()})


def head() -> str | None:
    """The newest revision of this release."""
    return ScriptDirectory.from_config(alembic_config()).get_current_head()
