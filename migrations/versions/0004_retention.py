"""Photos that were purged and messages that were forgotten"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

HAS_CONTENT = "sha256 IS NOT NULL OR uri IS NOT NULL OR error_code IS NOT NULL"

# The one change that a decision may see: its note goes when its message is forgotten.
KEEP_DECISION = """
CREATE FUNCTION keep_decision() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND NEW.note IS NULL AND to_jsonb(NEW) - 'note' = to_jsonb(OLD) - 'note'
       AND EXISTS (SELECT FROM message WHERE id = OLD.message_id AND forgotten_at IS NOT NULL) THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'decision is append-only: a change of mind is a new row'
        USING ERRCODE = 'restrict_violation';
END
$$
"""

# With the rights of the tables' owner, and with its audit event: nobody who may call it can do less, or do it unseen.
FORGET_MESSAGE = """
CREATE FUNCTION forget_message(event uuid, forgotten uuid, by_whom text, why text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    conversation uuid;
    photos integer;
BEGIN
    UPDATE message SET external_id = 'forgotten:' || id, locale = 'und', forgotten_at = clock_timestamp()
    WHERE id = forgotten AND forgotten_at IS NULL
    RETURNING thread_id INTO conversation;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    UPDATE thread SET external_id = 'forgotten:' || id
    WHERE id = conversation
      AND NOT EXISTS (SELECT FROM message WHERE thread_id = conversation AND forgotten_at IS NULL);
    UPDATE attachment
    SET external_id = 'forgotten:' || id, photo_group = NULL, declared_type = NULL, sha256 = NULL, uri = NULL,
        status = CASE WHEN status = 'scored' THEN status ELSE 'not_assessable' END,
        error_code = CASE WHEN status = 'scored' THEN NULL ELSE coalesce(error_code, 'forgotten') END,
        finished_at = coalesce(finished_at, clock_timestamp()),
        lease_token = NULL, lease_until = NULL
    WHERE message_id = forgotten;
    GET DIAGNOSTICS photos = ROW_COUNT;
    UPDATE decision SET note = NULL WHERE message_id = forgotten AND note IS NOT NULL;
    INSERT INTO audit_event (id, actor, action, subject_kind, subject_id, details)
    VALUES (event, by_whom, 'message.forgotten', 'message', forgotten,
            jsonb_build_object('reason', why, 'photos', photos));
END
$$
"""


def upgrade() -> None:
    op.add_column("message", sa.Column("forgotten_at", sa.TIMESTAMP(timezone=True), nullable=True))
    op.add_column("blob", sa.Column("purged_at", sa.TIMESTAMP(timezone=True), nullable=True))
    op.drop_index("ix_blob__purge_after", "blob")
    op.create_index(
        "ix_blob__to_purge",
        "blob",
        ["purge_after"],
        postgresql_where=sa.text("purge_after IS NOT NULL AND purged_at IS NULL"),
    )
    op.execute("COMMENT ON INDEX ix_blob__to_purge IS 'retention: blobs whose time is over and whose bytes are there'")
    op.create_index("ix_attachment__sha256", "attachment", ["sha256"])
    op.execute("COMMENT ON INDEX ix_attachment__sha256 IS 'retention: the attachments that a blob belongs to'")
    op.drop_constraint(op.f("ck_attachment__has_content"), "attachment", type_="check")
    op.create_check_constraint(
        op.f("ck_attachment__has_content"), "attachment", f"{HAS_CONTENT} OR finished_at IS NOT NULL"
    )
    op.execute(KEEP_DECISION)
    _replace_trigger("keep_decision")
    op.execute(FORGET_MESSAGE)


def downgrade() -> None:
    op.execute("DROP FUNCTION forget_message(uuid, uuid, text, text)")
    _replace_trigger("refuse_change")
    op.execute("DROP FUNCTION keep_decision()")
    op.drop_constraint(op.f("ck_attachment__has_content"), "attachment", type_="check")
    # not valid: photos of forgotten messages stay without content
    op.execute(f"ALTER TABLE attachment ADD CONSTRAINT ck_attachment__has_content CHECK ({HAS_CONTENT}) NOT VALID")
    op.drop_index("ix_attachment__sha256", "attachment")
    op.drop_index("ix_blob__to_purge", "blob")
    op.create_index("ix_blob__purge_after", "blob", ["purge_after"])
    op.execute("COMMENT ON INDEX ix_blob__purge_after IS 'retention: blobs whose time is over'")
    op.drop_column("blob", "purged_at")
    op.drop_column("message", "forgotten_at")


def _replace_trigger(function: str) -> None:
    op.execute("DROP TRIGGER decision_append_only ON decision")
    op.execute(
        "CREATE TRIGGER decision_append_only BEFORE UPDATE OR DELETE ON decision "
        f"FOR EACH ROW EXECUTE FUNCTION {function}()"
    )
