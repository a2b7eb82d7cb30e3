"""The tables change while workers of this release run: to those of a next release and back, and to older ones."""

import time
from collections.abc import Callable
from typing import Final

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from tests.system.chaos.site import LEASE_SECONDS, Scale, Site
from triage.storage import migrate, roles
from triage.storage.database import create_database_engine

_NEXT: Final = '''
"""What a next release may do to tables in use: add a column, a table and an index"""

import sqlalchemy as sa
from alembic import op

revision = "next"
down_revision = "{head}"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("attachment", sa.Column("of_the_next_release", sa.Text(), nullable=True))
    op.add_column("verdict", sa.Column("of_the_next_release", sa.Integer(), server_default="0", nullable=False))
    op.create_table("of_the_next_release", sa.Column("id", sa.Uuid(), primary_key=True))
    op.create_index("ix_of_the_next_release", "attachment", ["of_the_next_release"])


def downgrade() -> None:
    op.drop_index("ix_of_the_next_release")
    op.drop_table("of_the_next_release")
    op.drop_column("verdict", "of_the_next_release")
    op.drop_column("attachment", "of_the_next_release")
'''


def expand(site: Site, scale: Scale) -> int:
    """A next release's migration and its downgrade, while workers of this release score."""
    site.parts.start("scoring-1", "scoring-2", "intake-1", "beat-1")
    engine = create_database_engine(site.state.database_url(role=roles.MIGRATOR))
    config = _config_with_next(site, engine)
    for _ in range(scale.times):
        site.send(scale, 1 / scale.times)
        site.wait_for_work()
        _insist(lambda: command.upgrade(config, "next"))
        site.sender.send(1, 3)
        site.fault_ended()
        site.wait_for_work()
        _insist(lambda: command.downgrade(config, "-1"))
        site.sender.send(1, 3)
        site.fault_ended()
    engine.dispose()
    site.settle()
    return 2 * scale.times


def downgrade(site: Site, scale: Scale) -> int:
    """Tables of an older release under workers of this one: photos wait, unharmed, until the tables are there again."""
    site.parts.start("scoring-1", "scoring-2", "intake-1", "beat-1")
    site.send(scale)
    engine = create_database_engine(site.state.database_url(role=roles.MIGRATOR))
    for _ in range(scale.times):
        site.send(scale, 0.05)
        site.wait_for_work()
        _insist(lambda: migrate.downgrade(engine, "0001"))
        time.sleep(4 * LEASE_SECONDS)  # long enough for each photo to use up its attempts, if they counted
        _insist(lambda: migrate.upgrade(engine))
        site.fault_ended()
    engine.dispose()
    site.settle()
    [(parked,)] = site.query("SELECT count(*) FROM attachment WHERE error_code = 'attempts_exhausted'")
    assert parked == 0, "photos were blamed for the tables"
    return scale.times


def _config_with_next(site: Site, engine: Engine) -> Config:
    folder = site.folder / "next"
    folder.mkdir()
    (folder / "next.py").write_text(_NEXT.format(head=migrate.head()), encoding="utf-8")
    config = migrate.alembic_config(engine)
    config.set_main_option("version_path_separator", "newline")
    config.set_main_option("version_locations", "\n".join(map(str, (migrate.MIGRATIONS / "versions", folder))))
    return config


def _insist(migrate_once: Callable[[], object]) -> None:
    """Runs a migration again that gave up waiting for a lock, as an operator is told to."""
    for _ in range(20):
        try:
            migrate_once()
        except OperationalError:
            continue
        return
    raise AssertionError("the migration never got its lock")
