"""A person's decision needs its audit event, and each event says which database role it came by"""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

# Asked at the commit: the event names the decision, and is of the same transaction. One of a savepoint is refused too.
LEAVE_TRACE = """
CREATE FUNCTION leave_trace() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM audit_event WHERE subject_id = NEW.message_id AND subject_kind = 'message'
               AND action = 'message.overridden' AND actor = NEW.actor AND details ->> 'outcome' = NEW.outcome
               AND details ->> 'decision' = NEW.id::text AND audit_event.xmin = pg_current_xact_id()::xid) THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION 'a person''s decision needs its audit event' USING ERRCODE = 'restrict_violation';
END
$$
"""

CHAIN_AUDIT_EVENT = """
CREATE OR REPLACE FUNCTION chain_audit_event() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    head audit_head;
BEGIN
    SELECT * INTO STRICT head FROM audit_head FOR UPDATE;
    NEW.at := clock_timestamp();{role}
    NEW.position := head.position + 1;
    NEW.previous_hash := head.hash;
    NEW.hash := audit_hash(NEW);
    UPDATE audit_head SET position = NEW.position, hash = NEW.hash;
    RETURN NEW;
END
$$
"""
ROLE = """
    IF jsonb_typeof(NEW.details) <> 'object' THEN
        RAISE EXCEPTION 'an event''s details are an object' USING ERRCODE = 'check_violation';
    END IF;
    NEW.details := NEW.details || jsonb_build_object('role', session_user);"""


def upgrade() -> None:
    op.execute(LEAVE_TRACE)
    op.execute(
        "CREATE CONSTRAINT TRIGGER decision_leaves_trace AFTER INSERT ON decision DEFERRABLE INITIALLY DEFERRED "
        "FOR EACH ROW WHEN (NEW.decided_by = 'person') EXECUTE FUNCTION leave_trace()"
    )
    op.execute(CHAIN_AUDIT_EVENT.format(role=ROLE))


def downgrade() -> None:
    op.execute(CHAIN_AUDIT_EVENT.format(role=""))
    op.execute("DROP TRIGGER decision_leaves_trace ON decision")
    op.execute("DROP FUNCTION leave_trace()")
