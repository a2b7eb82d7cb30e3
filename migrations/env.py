"""The environment of Alembic: one transaction per migration, with limits on waiting for locks and on statements."""

from alembic import context
from sqlalchemy import Connection, Engine, event

from triage.storage.locks import SCHEMA_LOCK, wait_for_lock
from triage.storage.tables import METADATA

LOCK_TIMEOUT = "4s"  # other statements queue behind a migration that waits for a lock, so it gives up soon
STATEMENT_TIMEOUT = "10min"


def run(engine: Engine) -> None:
    with wait_for_lock(engine, SCHEMA_LOCK), engine.connect() as connection:
        event.listen(connection, "begin", set_limits)  # of each transaction, because a pooler may share the session
        context.configure(
            connection=connection,
            target_metadata=METADATA,
            compare_server_default=True,
            transaction_per_migration=True,
        )
        with context.begin_transaction():
            context.run_migrations()


def set_limits(connection: Connection) -> None:
    connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
    connection.exec_driver_sql(f"SET LOCAL statement_timeout = '{STATEMENT_TIMEOUT}'")


run(context.config.attributes["engine"])
