"""Migrations from code: upgrade, and whether the database is what this release expects."""

from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine

from triage.storage import roles

_PACKAGE: Final = Path(__file__).resolve().parents[1]
_INSTALLED: Final = _PACKAGE / "migrations"
MIGRATIONS: Final = _INSTALLED if _INSTALLED.is_dir() else _PACKAGE.parent / "migrations"
"""Inside the package where it was installed from a wheel, beside it in a checkout."""


def alembic_config(engine: Engine) -> Config:
    """Alembic over this engine, with no file of its own."""
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


def head() -> str | None:
    """The newest revision of this release."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    return ScriptDirectory.from_config(config).get_current_head()
