"""The first tables"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

INDEX_COMMENTS = {
    "ix_audit_event__subject_id": "explain: what people did to a message",
    "ix_blob__purge_after": "retention: blobs whose time is over",
    "uq_model_version__live": "models: the one live model, and never two",
    "ix_run__open": "runs: the next run to go on with",
    "ix_message__received_at": "reports: messages since a time",
    "ix_message__thread_id": "decisions: a thread''s earlier photos",
    "ix_message__undecided": "reports: oldest pending message",
    "ix_attachment__fresh": "inbox: claim of photos never tried",
    "ix_attachment__lease_until": "inbox: sweep of expired leases",
    "ix_attachment__retry": "inbox: claim of one photo that failed before",
    "ix_decision__message_id": "explain: a message''s decisions",
    "uq_decision__first": "decisions: a message has one first decision, so one chain and one current decision",
    "ix_retake_request__created_at": "reports: requests since a time",
    "ix_retake_request__open": "outbox: claim of requests not yet sent",
    "ix_retake_request__thread_id": "decisions: a thread''s earlier requests",
    "uq_retake_request__active": "outbox: at most one request for a message",
    "ix_verdict__created_at": "reports: scores since a time; health by progress",
}

APPEND_ONLY = ("decision", "audit_event")

REFUSE_CHANGE = """
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: a change of mind is a new row', TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation';
END
$$
"""

TABLES = (
    "retake_request",
    "verdict",
    "decision",
    "attachment",
    "message",
    "thread",
    "run",
    "model_version",
    "blob",
    "audit_event",
)


def upgrade() -> None:
    op.create_table(
        "audit_event",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("at", sa.TIMESTAMP(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("subject_kind", sa.Text(), nullable=False),
        sa.Column("subject_id", sa.Uuid(), nullable=False),
        sa.Column(
            "details", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'::jsonb"), nullable=False
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_event")),
    )
    op.create_index("ix_audit_event__subject_id", "audit_event", ["subject_id"], unique=False)
    op.create_table(
        "blob",
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("media_type", sa.Text(), nullable=True),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column(
            "created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("purge_after", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_blob")),
    )
    op.create_index("ix_blob__purge_after", "blob", ["purge_after"], unique=False)
    op.create_table(
        "model_version",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("weights_sha256", sa.Text(), nullable=False),
        sa.Column("card", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column(
            "created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("promoted_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.CheckConstraint("stage IN ('candidate', 'shadow', 'live', 'retired')", name=op.f("ck_model_version__stage")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_model_version")),
        sa.UniqueConstraint("weights_sha256", name=op.f("uq_model_version__weights_sha256")),
    )
    op.create_index(
        "uq_model_version__live", "model_version", ["stage"], unique=True, postgresql_where=sa.text("stage = 'live'")
    )
    op.create_table(
        "run",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("parameters", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column(
            "progress", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'::jsonb"), nullable=False
        ),
        sa.Column("dedupe_key", sa.Text(), nullable=True),
        sa.Column("attempts", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("lease_token", sa.Uuid(), nullable=True),
        sa.Column("lease_until", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("heartbeat_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column(
            "created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("started_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("finished_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.CheckConstraint("kind IN ('training', 'rescoring')", name=op.f("ck_run__kind")),
        sa.CheckConstraint(
            "status IN ('pending', 'running', 'done', 'failed', 'cancelled')", name=op.f("ck_run__status")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_run")),
        sa.UniqueConstraint("dedupe_key", name=op.f("uq_run__dedupe_key")),
    )
    op.create_index(
        "ix_run__open",
        "run",
        ["kind", "created_at"],
        unique=False,
        postgresql_where=sa.text("status IN ('pending', 'running')"),
    )
    op.create_table(
        "thread",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_thread")),
        sa.UniqueConstraint("source", "external_id", name=op.f("uq_thread__source_external_id")),
    )
    op.create_table(
        "message",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=False),
        sa.Column("thread_id", sa.Uuid(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("locale", sa.Text(), nullable=False),
        sa.Column("opted_out", sa.Boolean(), nullable=False),
        sa.Column(
            "received_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("current_decision_id", sa.Uuid(), nullable=True),
        sa.ForeignKeyConstraint(["thread_id"], ["thread.id"], name=op.f("fk_message__thread_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_message")),
        sa.UniqueConstraint("source", "external_id", name=op.f("uq_message__source_external_id")),
    )
    op.create_index("ix_message__received_at", "message", ["received_at"], unique=False)
    op.create_index("ix_message__thread_id", "message", ["thread_id"], unique=False)
    op.create_index(
        "ix_message__undecided",
        "message",
        ["received_at"],
        unique=False,
        postgresql_where=sa.text("current_decision_id IS NULL"),
    )
    op.create_table(
        "attachment",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("message_id", sa.Uuid(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=False),
        sa.Column("photo_group", sa.Text(), nullable=True),
        sa.Column("sha256", sa.Text(), nullable=True),
        sa.Column("uri", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("attempts", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("due_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("lease_token", sa.Uuid(), nullable=True),
        sa.Column("lease_until", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column(
            "created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("finished_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.CheckConstraint("(status = 'in_progress') = (lease_token IS NOT NULL)", name=op.f("ck_attachment__lease")),
        sa.CheckConstraint(
            "(status = 'not_assessable') = (error_code IS NOT NULL)", name=op.f("ck_attachment__error_code")
        ),
        sa.CheckConstraint(
            "status IN ('pending', 'in_progress', 'scored', 'not_assessable')", name=op.f("ck_attachment__status")
        ),
        sa.CheckConstraint(
            "sha256 IS NOT NULL OR uri IS NOT NULL OR error_code IS NOT NULL", name=op.f("ck_attachment__has_content")
        ),
        sa.ForeignKeyConstraint(["message_id"], ["message.id"], name=op.f("fk_attachment__message_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attachment")),
        sa.UniqueConstraint("message_id", "external_id", name=op.f("uq_attachment__message_id_external_id")),
    )
    op.create_index(
        "ix_attachment__fresh",
        "attachment",
        ["due_at", "id"],
        unique=False,
        postgresql_where=sa.text("status = 'pending' AND attempts = 0"),
    )
    op.create_index(
        "ix_attachment__lease_until",
        "attachment",
        ["lease_until"],
        unique=False,
        postgresql_where=sa.text("status = 'in_progress'"),
    )
    op.create_index(
        "ix_attachment__retry",
        "attachment",
        ["due_at", "id"],
        unique=False,
        postgresql_where=sa.text("status = 'pending' AND attempts > 0"),
    )
    op.create_table(
        "decision",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("message_id", sa.Uuid(), nullable=False),
        sa.Column("supersedes_id", sa.Uuid(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("decided_by", sa.Text(), nullable=False),
        sa.Column("model_version_id", sa.Uuid(), nullable=True),
        sa.Column("actor", sa.Text(), nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column(
            "created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.CheckConstraint("(decided_by = 'person') = (actor IS NOT NULL)", name=op.f("ck_decision__actor")),
        sa.CheckConstraint("decided_by IN ('model', 'rescoring', 'person')", name=op.f("ck_decision__decided_by")),
        sa.CheckConstraint(
            "outcome IN ('pass', 'retake', 'uncertain', 'not_assessable')", name=op.f("ck_decision__outcome")
        ),
        sa.CheckConstraint(
            "reason IN ('photo_passed', 'no_photo_passed', 'near_threshold', "
            "'unreadable_photo', 'no_readable_photo', 'request_limit', "
            "'cooldown', 'identical_resend', 'opted_out', 'override')",
            name=op.f("ck_decision__reason"),
        ),
        sa.ForeignKeyConstraint(["message_id"], ["message.id"], name=op.f("fk_decision__message_id")),
        sa.ForeignKeyConstraint(["model_version_id"], ["model_version.id"], name=op.f("fk_decision__model_version_id")),
        sa.ForeignKeyConstraint(["supersedes_id"], ["decision.id"], name=op.f("fk_decision__supersedes_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_decision")),
        sa.UniqueConstraint("supersedes_id", name=op.f("uq_decision__supersedes_id")),
    )
    op.create_index("ix_decision__message_id", "decision", ["message_id"], unique=False)
    op.create_index(
        "uq_decision__first", "decision", ["message_id"], unique=True, postgresql_where=sa.text("supersedes_id IS NULL")
    )
    op.create_table(
        "retake_request",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("message_id", sa.Uuid(), nullable=False),
        sa.Column("thread_id", sa.Uuid(), nullable=False),
        sa.Column("decision_id", sa.Uuid(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("claimed_by", sa.Text(), nullable=True),
        sa.Column("lease_token", sa.Uuid(), nullable=True),
        sa.Column("lease_until", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column(
            "created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("sent_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("withdrawn_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("withdrawn_reason", sa.Text(), nullable=True),
        sa.CheckConstraint("(status = 'claimed') = (lease_until IS NOT NULL)", name=op.f("ck_retake_request__lease")),
        sa.CheckConstraint(
            "status IN ('flagged', 'claimed', 'sent', 'withdrawn')", name=op.f("ck_retake_request__status")
        ),
        sa.ForeignKeyConstraint(["decision_id"], ["decision.id"], name=op.f("fk_retake_request__decision_id")),
        sa.ForeignKeyConstraint(["message_id"], ["message.id"], name=op.f("fk_retake_request__message_id")),
        sa.ForeignKeyConstraint(["thread_id"], ["thread.id"], name=op.f("fk_retake_request__thread_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_retake_request")),
        sa.UniqueConstraint("decision_id", name=op.f("uq_retake_request__decision_id")),
    )
    op.create_index("ix_retake_request__created_at", "retake_request", ["created_at"], unique=False)
    op.create_index(
        "ix_retake_request__open",
        "retake_request",
        ["created_at"],
        unique=False,
        postgresql_where=sa.text("status IN ('flagged', 'claimed')"),
    )
    op.create_index("ix_retake_request__thread_id", "retake_request", ["thread_id"], unique=False)
    op.create_index(
        "uq_retake_request__active",
        "retake_request",
        ["message_id"],
        unique=True,
        postgresql_where=sa.text("status <> 'withdrawn'"),
    )
    op.create_table(
        "verdict",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("attachment_id", sa.Uuid(), nullable=False),
        sa.Column("model_version_id", sa.Uuid(), nullable=False),
        sa.Column("run_id", sa.Uuid(), nullable=True),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("score", sa.Double(), nullable=False),
        sa.Column("threshold", sa.Double(), nullable=False),
        sa.Column("acceptable", sa.Boolean(), nullable=False),
        sa.Column("grade", sa.SmallInteger(), nullable=False),
        sa.Column("cumulative", sa.ARRAY(sa.Double()), nullable=False),
        sa.Column("patch_scores", sa.ARRAY(sa.Double()), nullable=False),
        sa.Column(
            "findings", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'[]'::jsonb"), nullable=False
        ),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column(
            "created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.CheckConstraint("origin IN ('inbox', 'rescoring', 'shadow')", name=op.f("ck_verdict__origin")),
        sa.ForeignKeyConstraint(["attachment_id"], ["attachment.id"], name=op.f("fk_verdict__attachment_id")),
        sa.ForeignKeyConstraint(["model_version_id"], ["model_version.id"], name=op.f("fk_verdict__model_version_id")),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_verdict__run_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_verdict")),
        sa.UniqueConstraint(
            "attachment_id", "model_version_id", name=op.f("uq_verdict__attachment_id_model_version_id")
        ),
    )
    op.create_index("ix_verdict__created_at", "verdict", ["created_at"], unique=False)
    op.create_foreign_key("fk_message__current_decision_id", "message", "decision", ["current_decision_id"], ["id"])
    for index, query in INDEX_COMMENTS.items():
        op.execute(f"COMMENT ON INDEX {index} IS '{query}'")
    op.execute(REFUSE_CHANGE)
    for table in APPEND_ONLY:
        op.execute(
            f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION refuse_change()"
        )
        op.execute(
            f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
        )


def downgrade() -> None:
    op.drop_constraint("fk_message__current_decision_id", "message", type_="foreignkey")
    for table in TABLES:
        op.drop_table(table)
    op.execute("DROP FUNCTION refuse_change()")
