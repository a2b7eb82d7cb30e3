"""Database schemas of other releases: one migration newer than this release, and an older schema that lacks columns."""

from pathlib import Path
from typing import Final

from alembic.config import Config
from sqlalchemy import Engine, text

from triage.storage import migrate

_NEXT: Final = '''
"""A migration of the next release that is compatible with this one: a new column, table and index"""

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

_OLDER_LACKS: Final = (
    ("attachment", "declared_type", "text"),
    ("attachment", "media_type", "text"),
    ("verdict", "n_frames", "integer NOT NULL DEFAULT 1"),
    ("verdict", "frame", "integer NOT NULL DEFAULT 0"),
)


def config_with_next(folder: Path, engine: Engine | None = None) -> Config:
    """An Alembic configuration whose head is the revision `next`, written to a new folder."""
    folder.mkdir()
    (folder / "next.py").write_text(_NEXT.format(head=migrate.head()), encoding="utf-8")
    config = migrate.alembic_config(engine)
    config.set_main_option("path_separator", "newline")
    config.set_main_option("version_locations", "\n".join(map(str, (migrate.MIGRATIONS / "versions", folder))))
    return config


def make_older(engine: Engine) -> None:
    """Turns the schema into that of an older release: columns are missing, and so is the revision of this release."""
    with engine.begin() as connection:
        connection.execute(text("SET LOCAL lock_timeout = '4s'"))
        for table, column, _ in _OLDER_LACKS:
            connection.execute(text(f"ALTER TABLE {table} DROP COLUMN {column}"))
        connection.execute(text("DELETE FROM alembic_version"))


def make_current(engine: Engine) -> None:
    """Upgrades a schema from `make_older`, privileges included, and keeps the rows."""
    with engine.begin() as connection:
        connection.execute(text("SET LOCAL lock_timeout = '4s'"))
        for table, column, definition in _OLDER_LACKS:
            connection.execute(text(f"ALTER TABLE {table} ADD COLUMN {column} {definition}"))
        connection.execute(text("INSERT INTO alembic_version VALUES (:head)"), {"head": migrate.head()})
    migrate.upgrade(engine)
