"""Verdicts are append-only too; audit events are a chain of hashes, and those that are there become one"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# What a model said in the shadow counts once it is asked in earnest: the one change that a verdict may see.
KEEP_VERDICT = """
CREATE FUNCTION keep_verdict() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    in_earnest CONSTANT text[] := ARRAY['origin', 'run_id', 'threshold', 'acceptable'];
BEGIN
    IF TG_OP = 'UPDATE' AND OLD.origin = 'shadow' AND NEW.origin <> 'shadow'
       AND to_jsonb(NEW) - in_earnest = to_jsonb(OLD) - in_earnest THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'verdict is append-only: another verdict is another model''s'
        USING ERRCODE = 'restrict_violation';
END
$$
"""

# Each field as `length:bytes,`, so that no two events have one text. `triage.storage.audit` does the same in Python.
AUDIT_HASH = """
CREATE FUNCTION audit_hash(event audit_event) RETURNS text LANGUAGE sql STABLE
SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT encode(sha256(convert_to(string_agg(octet_length(field) || ':' || field || ',', '' ORDER BY n), 'UTF8')),
                  'hex')
    FROM unnest(ARRAY[
        event.previous_hash, event.position::text, event.id::text,
        to_char(event.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
        event.actor, event.action, event.subject_kind, event.subject_id::text, event.details::text
    ]) WITH ORDINALITY AS fields (field, n)
$$
"""

# The head's row lock makes concurrent writers wait for each other's commit, so that the chain never forks.
CHAIN_AUDIT_EVENT = """
CREATE FUNCTION chain_audit_event() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    head audit_head;
BEGIN
    SELECT * INTO STRICT head FROM audit_head FOR UPDATE;
    NEW.at := clock_timestamp();
    NEW.position := head.position + 1;
    NEW.previous_hash := head.hash;
    NEW.hash := audit_hash(NEW);
    UPDATE audit_head SET position = NEW.position, hash = NEW.hash;
    RETURN NEW;
END
$$
"""

CHAIN_WHAT_IS_THERE = """
DO $$
DECLARE
    event audit_event;
    head audit_head;
BEGIN
    SELECT * INTO STRICT head FROM audit_head;
    FOR event IN SELECT * FROM audit_event ORDER BY id LOOP
        event.position := head.position + 1;
        event.previous_hash := head.hash;
        event.hash := audit_hash(event);
        UPDATE audit_event SET position = event.position, previous_hash = event.previous_hash, hash = event.hash
        WHERE id = event.id;
        head.position := event.position;
        head.hash := event.hash;
    END LOOP;
    UPDATE audit_head SET position = head.position, hash = head.hash;
END
$$
"""

# Whoever may only read leaves a trace of what was looked at, and can write nothing else.
RECORD_VIEW = """
CREATE FUNCTION record_view(event uuid, seen uuid, by_whom text) RETURNS void LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp AS $$
    INSERT INTO audit_event (id, actor, action, subject_kind, subject_id)
    SELECT event, by_whom, 'message.seen', 'message', id FROM message WHERE id = seen
$$
"""


def upgrade() -> None:
    op.execute(KEEP_VERDICT)
    _protect("verdict", "keep_verdict")

    op.create_table(
        "audit_head",
        sa.Column("id", sa.SmallInteger(), server_default="1", autoincrement=False, nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_audit_head__one_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_head")),
    )
    op.execute("INSERT INTO audit_head (position, hash) VALUES (0, repeat('0', 64))")
    op.execute(
        "CREATE TRIGGER audit_head_stays BEFORE DELETE OR TRUNCATE ON audit_head "
        "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
    )

    op.add_column("audit_event", sa.Column("position", sa.BigInteger(), nullable=True))
    op.add_column("audit_event", sa.Column("previous_hash", sa.Text(), nullable=True))
    op.add_column("audit_event", sa.Column("hash", sa.Text(), nullable=True))
    op.execute(AUDIT_HASH)
    op.execute("DROP TRIGGER audit_event_append_only ON audit_event")
    op.execute(CHAIN_WHAT_IS_THERE)
    op.execute(
        "CREATE TRIGGER audit_event_append_only BEFORE UPDATE OR DELETE ON audit_event "
        "FOR EACH ROW EXECUTE FUNCTION refuse_change()"
    )
    for column in ("position", "previous_hash", "hash"):
        op.alter_column("audit_event", column, nullable=False)
    op.create_unique_constraint(op.f("uq_audit_event__position"), "audit_event", ["position"])
    op.execute(CHAIN_AUDIT_EVENT)
    op.execute(
        "CREATE TRIGGER audit_event_chained BEFORE INSERT ON audit_event "
        "FOR EACH ROW EXECUTE FUNCTION chain_audit_event()"
    )
    op.execute(RECORD_VIEW)


def downgrade() -> None:
    op.execute("DROP FUNCTION record_view(uuid, uuid, text)")
    op.execute("DROP TRIGGER audit_event_chained ON audit_event")
    op.execute("DROP FUNCTION chain_audit_event()")
    op.execute("DROP FUNCTION audit_hash(audit_event)")
    op.drop_constraint("uq_audit_event__position", "audit_event", type_="unique")
    for column in ("hash", "previous_hash", "position"):
        op.drop_column("audit_event", column)
    op.drop_table("audit_head")
    op.execute("DROP TRIGGER verdict_append_only ON verdict")
    op.execute("DROP TRIGGER verdict_no_truncate ON verdict")
    op.execute("DROP FUNCTION keep_verdict()")


def _protect(table: str, function: str) -> None:
    op.execute(
        f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table} "
        f"FOR EACH ROW EXECUTE FUNCTION {function}()"
    )
    op.execute(
        f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} "
        "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
    )
