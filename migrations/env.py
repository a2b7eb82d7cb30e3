"""The environment of Alembic: one transaction per migration, with limits on waiting for locks and on statements."""

from alembic import context
from sqlalchemy import Engine, text

from triage.storage.tables import METADATA

LOCK_TIMEOUT = "4s"  # other statements queue behind a migration that waits for a lock, so it gives up soon
STATEMENT_TIMEOUT = "10min"
ADVISORY_LOCK = 7216340001  # of two concurrent upgrades, the second waits and then has nothing to do


def run(engine: Engine) -> None:
    with engine.connect() as connection:
        connection.execute(text(f"SET lock_timeout = '{LOCK_TIMEOUT}'"))
        connection.execute(text(f"SET statement_timeout = '{STATEMENT_TIMEOUT}'"))
        connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": ADVISORY_LOCK})
        connection.commit()
        try:
            context.configure(
                connection=connection,
                target_metadata=METADATA,
                compare_server_default=True,
                transaction_per_migration=True,
            )
            with context.begin_transaction():
                context.run_migrations()
        finally:
            connection.rollback()
            connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": ADVISORY_LOCK})
            connection.execute(text("RESET lock_timeout"))
            connection.execute(text("RESET statement_timeout"))
            connection.commit()


run(context.config.attributes["engine"])
