"""Schema migrations from code, and checks of a database against the schema of this release."""

from functools import cache
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text
from sqlalchemy.orm import Session

from triage.errors import TablesNewerError, TablesOutdatedError
from triage.storage import roles
from triage.storage.locks import SCHEMA_LOCK, is_held

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

    Raises:
        TablesNewerError: the schema is that of a newer release. Nothing was changed.
    """
    with engine.connect() as connection:
        _check_not_newer(_revision(connection))
    command.upgrade(alembic_config(engine), revision)
    if is_current(engine):
        roles.grant(engine)


def downgrade(engine: Engine, revision: str) -> None:
    """Downgrades the schema to a revision."""
    command.downgrade(alembic_config(engine), revision)


def is_current(engine: Engine) -> bool:
    """Whether the database schema is exactly that of this release."""
    with engine.connect() as connection:
        return _revision(connection) == head()


def check_current(engine: Engine) -> None:
    """Rejects every schema but that of this release.

    Raises:
        TablesOutdatedError: the database is empty, or its schema is of an older release.
        TablesNewerError: the schema is of a newer release.
    """
    with Session(engine) as session:
        revision = _revision(session.connection())
        if revision in _older_revisions():
            raise _outdated(session, revision)
        _check_not_newer(revision)


def check_not_behind(session: Session) -> None:
    """Rejects the schema of an older release.

    The schema of a newer release is accepted, because its migrations stay compatible with this release.

    Raises:
        TablesOutdatedError: the schema is older than this release requires.
    """
    revision = session.scalar(text("SELECT version_num FROM alembic_version"))
    if revision in _older_revisions():
        raise _outdated(session, revision)


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _outdated(session: Session, revision: str | None) -> TablesOutdatedError:
    if is_held(session, SCHEMA_LOCK):
        return TablesOutdatedError("the database schema is being upgraded: wait until that has ended")
    if revision is None:
        return TablesOutdatedError("the database has no schema: upgrade it")
    return TablesOutdatedError("the database schema is older than this release: upgrade it")


def _check_not_newer(revision: str | None) -> None:
    if revision != head() and revision not in _older_revisions():
        raise TablesNewerError("the database schema is of a newer release: use that release")


@cache
def _older_revisions() -> frozenset[str | None]:
    """The revisions before the head; None stands for a database without a revision."""
    script = ScriptDirectory.from_config(alembic_config())
    revisions = {revision.revision for revision in script.walk_revisions()}
    return frozenset({None, *revisions} - {script.get_current_head()})


def head() -> str | None:
    """The newest revision of this release."""
    return ScriptDirectory.from_config(alembic_config()).get_current_head()
