"""What is done stays done: a message's decision, a photo's result, a request that was sent"""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

# Along the chain of its decisions, one at a time; only an archiving takes a message's decision away.
FOLLOW_DECISIONS = """
CREATE FUNCTION follow_decisions() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF NEW.current_decision_id IS NOT DISTINCT FROM OLD.current_decision_id
       OR EXISTS (SELECT FROM decision WHERE id = NEW.current_decision_id AND message_id = NEW.id
                  AND supersedes_id IS NOT DISTINCT FROM OLD.current_decision_id)
       OR NEW.current_decision_id IS NULL
          AND EXISTS (SELECT FROM thread WHERE id = NEW.thread_id AND archived_at IS NOT NULL) THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'a message''s decision is the last of its chain' USING ERRCODE = 'restrict_violation';
END
$$
"""

KEEP_RESULT = """
CREATE FUNCTION keep_result() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM message WHERE id = NEW.message_id AND forgotten_at IS NOT NULL) THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'a photo has its result once' USING ERRCODE = 'restrict_violation';
END
$$
"""

KEEP_REQUEST = """
CREATE FUNCTION keep_request() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'a retake request is sent or withdrawn for good' USING ERRCODE = 'restrict_violation';
END
$$
"""

TRIGGERS = {
    "message_follows_decisions": "UPDATE OF current_decision_id ON message FOR EACH ROW "
    "EXECUTE FUNCTION follow_decisions()",
    "attachment_keeps_result": "UPDATE OF status, error_code, sha256, finished_at ON attachment FOR EACH ROW "
    "WHEN (OLD.status IN ('scored', 'not_assessable')) EXECUTE FUNCTION keep_result()",
    "retake_request_is_final": "UPDATE OF status, sent_at, withdrawn_at ON retake_request FOR EACH ROW "
    "WHEN (OLD.status IN ('sent', 'withdrawn') AND (NEW.status <> OLD.status "
    "OR NEW.sent_at IS DISTINCT FROM OLD.sent_at OR NEW.withdrawn_at IS DISTINCT FROM OLD.withdrawn_at)) "
    "EXECUTE FUNCTION keep_request()",
}


def upgrade() -> None:
    for function in (FOLLOW_DECISIONS, KEEP_RESULT, KEEP_REQUEST):
        op.execute(function)
    for name, what in TRIGGERS.items():
        op.execute(f"CREATE TRIGGER {name} BEFORE {what}")


def downgrade() -> None:
    for name, what in TRIGGERS.items():
        op.execute(f"DROP TRIGGER {name} ON {what.partition(' ON ')[2].partition(' ')[0]}")
    for function in ("follow_decisions", "keep_result", "keep_request"):
        op.execute(f"DROP FUNCTION {function}()")
