"""Connections for administrators: the configured database URL, or a role of the embedded Postgres."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from triage.storage.role_names import MIGRATOR

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from triage.storage.database import Sessions


@contextmanager
def administration_engine(embedded_role: str = MIGRATOR) -> Iterator["Engine"]:
    """An engine for one command.

    Args:
        embedded_role: role of the embedded Postgres to connect as. A configured URL already names a role.

    Raises:
        DatabaseUnavailableError: Postgres does not respond; see `triage.storage.database.database_errors`.
    """
    from triage.storage.database import create_database_engine, database_errors  # deferred: imports SQLAlchemy
    from worker.settings import load_settings  # deferred: imports pydantic-settings

    engine = create_database_engine(load_settings().administration_url(embedded_role))
    try:
        with database_errors():
            yield engine
    finally:
        engine.dispose()


@contextmanager
def administration_sessions() -> Iterator["Sessions"]:
    """Sessions for one command, of the role that owns the tables. Raises the errors of `administration_engine`."""
    from triage.storage.database import create_sessions  # deferred: imports SQLAlchemy

    with administration_engine() as engine:
        yield create_sessions(engine)
