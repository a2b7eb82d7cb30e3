"""The database as its administrators reach it: the operator's own URL, or a role of the embedded Postgres."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine

from triage.storage.database import create_database_engine
from triage.storage.roles import MIGRATOR
from worker.settings import load_settings


@contextmanager
def administration_engine(embedded_role: str = MIGRATOR) -> Iterator[Engine]:
    """An engine for one command; of the role that owns the tables if no other is named."""
    engine = create_database_engine(load_settings().administration_url(embedded_role))
    try:
        yield engine
    finally:
        engine.dispose()
