"""Old threads may leave the tables for an archive, and no query over years of messages reads a whole table"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

INDEXES: dict[str, tuple[str, list[str], str | None, str]] = {
    "ix_message__current_decision_id": (
        "message",
        ["current_decision_id"],
        None,
        "archive: the message whose decision goes",
    ),
    "ix_message__external_id": ("message", ["external_id"], None, "commands: a message by its sender''s id alone"),
    "ix_retake_request__message_id": ("retake_request", ["message_id"], None, "explain: a message''s requests"),
    "ix_retake_request__status": ("retake_request", ["status", "created_at"], None, "retakes: the newest in a state"),
    "ix_blob__unmarked": (
        "blob",
        ["created_at"],
        "purge_after IS NULL",
        "retention: the oldest blobs that are kept",
    ),
    "ix_blob__purged": ("blob", ["created_at"], "purged_at IS NOT NULL", "reports: photos purged"),
}

# The one way for a verdict or a decision to go: with its thread, in the transaction that marks the thread as archived.
KEEP_VERDICT = """
CREATE OR REPLACE FUNCTION keep_verdict() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    in_earnest CONSTANT text[] := ARRAY['origin', 'run_id', 'threshold', 'acceptable'];
BEGIN
    IF TG_OP = 'UPDATE' AND OLD.origin = 'shadow' AND NEW.origin <> 'shadow'
       AND to_jsonb(NEW) - in_earnest = to_jsonb(OLD) - in_earnest THEN
        RETURN NEW;
    END IF;{archived}
    RAISE EXCEPTION 'verdict is append-only: another verdict is another model''s'
        USING ERRCODE = 'restrict_violation';
END
$$
"""
VERDICT_ARCHIVED = """
    IF TG_OP = 'DELETE' AND EXISTS (
        SELECT FROM attachment JOIN message ON message.id = message_id JOIN thread ON thread.id = thread_id
        WHERE attachment.id = OLD.attachment_id AND archived_at IS NOT NULL
    ) THEN
        RETURN OLD;
    END IF;"""

KEEP_DECISION = """
CREATE OR REPLACE FUNCTION keep_decision() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND NEW.note IS NULL AND to_jsonb(NEW) - 'note' = to_jsonb(OLD) - 'note'
       AND EXISTS (SELECT FROM message WHERE id = OLD.message_id AND forgotten_at IS NOT NULL) THEN
        RETURN NEW;
    END IF;{archived}
    RAISE EXCEPTION 'decision is append-only: a change of mind is a new row'
        USING ERRCODE = 'restrict_violation';
END
$$
"""
DECISION_ARCHIVED = """
    IF TG_OP = 'DELETE' AND EXISTS (
        SELECT FROM message JOIN thread ON thread.id = thread_id
        WHERE message.id = OLD.message_id AND archived_at IS NOT NULL
    ) THEN
        RETURN OLD;
    END IF;"""

# A mark that its transaction leaves behind would open the way to delete one row of a living thread, so it undoes all.
LET_GO_WHOLE = """
CREATE FUNCTION let_go_whole() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM thread WHERE id = NEW.id) THEN
        RAISE EXCEPTION 'a thread is archived whole or not at all' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NULL;
END
$$
"""


def upgrade() -> None:
    with op.get_context().autocommit_block():  # writers go on meanwhile; what a killed upgrade left is made anew
        for name, (table, columns, where, query) in INDEXES.items():
            op.drop_index(name, table, if_exists=True, postgresql_concurrently=True)
            predicate = sa.text(where) if where else None
            op.create_index(name, table, columns, postgresql_concurrently=True, postgresql_where=predicate)
            op.execute(f"COMMENT ON INDEX {name} IS '{query}'")
    op.add_column("thread", sa.Column("archived_at", sa.TIMESTAMP(timezone=True), nullable=True))
    op.execute(LET_GO_WHOLE)
    op.execute(
        "CREATE CONSTRAINT TRIGGER thread_let_go_whole AFTER INSERT OR UPDATE OF archived_at ON thread "
        "DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.archived_at IS NOT NULL) EXECUTE FUNCTION let_go_whole()"
    )
    op.execute(KEEP_VERDICT.format(archived=VERDICT_ARCHIVED))
    op.execute(KEEP_DECISION.format(archived=DECISION_ARCHIVED))


def downgrade() -> None:
    op.execute(KEEP_DECISION.format(archived=""))
    op.execute(KEEP_VERDICT.format(archived=""))
    op.execute("DROP TRIGGER thread_let_go_whole ON thread")
    op.execute("DROP FUNCTION let_go_whole()")
    op.drop_column("thread", "archived_at")
    for name, (table, *_) in INDEXES.items():
        op.drop_index(name, table)
