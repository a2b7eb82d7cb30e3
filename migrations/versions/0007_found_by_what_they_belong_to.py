"""Verdicts found by their run, purged photos and forgotten messages by when they went"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

INDEXES = {
    "ix_verdict__run_id": ("verdict", "run_id", "run_id IS NOT NULL", "runs: what a rescoring has judged"),
    "ix_blob__purged_at": ("blob", "purged_at", "purged_at IS NOT NULL", "reports: photos purged"),
    "ix_message__forgotten_at": ("message", "forgotten_at", "forgotten_at IS NOT NULL", "reports: messages forgotten"),
}
BEFORE = {"ix_blob__purged": ("blob", "created_at", "purged_at IS NOT NULL", "reports: photos purged")}


def upgrade() -> None:
    _exchange(BEFORE, INDEXES)


def downgrade() -> None:
    _exchange(INDEXES, BEFORE)


def _exchange(old: dict[str, tuple[str, str, str, str]], new: dict[str, tuple[str, str, str, str]]) -> None:
    with op.get_context().autocommit_block():  # writers go on meanwhile; what a killed upgrade left is made anew
        for name, (table, column, where, query) in new.items():
            op.drop_index(name, table, if_exists=True, postgresql_concurrently=True)
            op.create_index(name, table, [column], postgresql_concurrently=True, postgresql_where=sa.text(where))
            op.execute(f"COMMENT ON INDEX {name} IS '{query}'")
        for name, (table, *_) in old.items():
            op.drop_index(name, table, if_exists=True, postgresql_concurrently=True)
