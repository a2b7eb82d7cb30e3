"""Initial schema: tables, indexes, functions and triggers.

Privileges are not part of a migration: every upgrade ends by granting them (`triage.storage.roles`).
"""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# Tables, in the order in which foreign keys allow creating them. `triage.storage.tables` documents them.

TABLES = {
    "thread": """
        id          uuid NOT NULL,
        source      text NOT NULL,
        external_id text NOT NULL,
        archived_at timestamptz,
        CONSTRAINT pk_thread PRIMARY KEY (id),
        CONSTRAINT uq_thread__source_external_id UNIQUE (source, external_id)
    """,
    "opt_out": """
        id            uuid NOT NULL,
        thread_sha256 text NOT NULL,
        created_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
        CONSTRAINT pk_opt_out PRIMARY KEY (id),
        CONSTRAINT uq_opt_out__thread_sha256 UNIQUE (thread_sha256)
    """,
    "message": """
        id                  uuid NOT NULL,
        source              text NOT NULL,
        external_id         text NOT NULL,
        thread_id           uuid NOT NULL,
        role                text NOT NULL,
        locale              text NOT NULL,
        opted_out           boolean NOT NULL,
        fitzpatrick         text,
        received_at         timestamptz NOT NULL DEFAULT clock_timestamp(),
        current_decision_id uuid,
        forgotten_at        timestamptz,
        CONSTRAINT pk_message PRIMARY KEY (id),
        CONSTRAINT fk_message__thread_id FOREIGN KEY (thread_id) REFERENCES thread (id),
        CONSTRAINT uq_message__source_external_id UNIQUE (source, external_id),
        CONSTRAINT ck_message__fitzpatrick CHECK (fitzpatrick IN ('I', 'II', 'III', 'IV', 'V', 'VI'))
    """,
    "origin": """
        message_id uuid NOT NULL,
        subject    text,
        author     text,
        encounter  text,
        created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        CONSTRAINT pk_origin PRIMARY KEY (message_id),
        CONSTRAINT fk_origin__message_id FOREIGN KEY (message_id) REFERENCES message (id)
    """,
    "blob": """
        sha256      text NOT NULL,
        media_type  text,
        size_bytes  bigint NOT NULL,
        created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
        purge_after timestamptz,
        purged_at   timestamptz,
        CONSTRAINT pk_blob PRIMARY KEY (sha256)
    """,
    "photo_store": """
        id        smallint NOT NULL DEFAULT '1',
        marker    uuid NOT NULL,
        set_up_at timestamptz,
        CONSTRAINT pk_photo_store PRIMARY KEY (id),
        CONSTRAINT ck_photo_store__one_row CHECK (id = 1)
    """,
    "attachment": """
        id             uuid NOT NULL,
        message_id     uuid NOT NULL,
        external_id    text NOT NULL,
        photo_group    text,
        declared_type  text,
        media_type     text,
        sha256         text,
        uri            text,
        status         text NOT NULL,
        attempts       smallint NOT NULL DEFAULT '0',
        lost_leases    smallint NOT NULL DEFAULT '0',
        storage_faults smallint NOT NULL DEFAULT '0',
        due_at         timestamptz NOT NULL DEFAULT clock_timestamp(),
        lease_token    uuid,
        lease_until    timestamptz,
        error_code     text,
        created_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
        finished_at    timestamptz,
        CONSTRAINT pk_attachment PRIMARY KEY (id),
        CONSTRAINT fk_attachment__message_id FOREIGN KEY (message_id) REFERENCES message (id),
        CONSTRAINT uq_attachment__message_id_external_id UNIQUE (message_id, external_id),
        CONSTRAINT ck_attachment__status CHECK (status IN ('pending', 'in_progress', 'scored', 'not_assessable')),
        CONSTRAINT ck_attachment__has_content CHECK (
            sha256 IS NOT NULL OR uri IS NOT NULL OR error_code IS NOT NULL OR finished_at IS NOT NULL
        ),
        CONSTRAINT ck_attachment__lease CHECK ((status = 'in_progress') = (lease_token IS NOT NULL)),
        CONSTRAINT ck_attachment__error_code CHECK ((status = 'not_assessable') = (error_code IS NOT NULL))
    """,
    "model_version": """
        id             uuid NOT NULL,
        name           text NOT NULL,
        version        integer NOT NULL,
        weights_sha256 text NOT NULL,
        card           jsonb NOT NULL,
        stage          text NOT NULL,
        created_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
        promoted_at    timestamptz,
        CONSTRAINT pk_model_version PRIMARY KEY (id),
        CONSTRAINT uq_model_version__name_version UNIQUE (name, version),
        CONSTRAINT uq_model_version__weights_sha256 UNIQUE (weights_sha256),
        CONSTRAINT ck_model_version__stage CHECK (stage IN ('candidate', 'shadow', 'live', 'retired'))
    """,
    "run": """
        id           uuid NOT NULL,
        kind         text NOT NULL,
        status       text NOT NULL,
        parameters   jsonb NOT NULL,
        progress     jsonb NOT NULL DEFAULT '{}'::jsonb,
        dedupe_key   text,
        attempts     smallint NOT NULL DEFAULT '0',
        lease_token  uuid,
        lease_until  timestamptz,
        heartbeat_at timestamptz,
        error        text,
        created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
        started_at   timestamptz,
        finished_at  timestamptz,
        CONSTRAINT pk_run PRIMARY KEY (id),
        CONSTRAINT uq_run__dedupe_key UNIQUE (dedupe_key),
        CONSTRAINT ck_run__kind CHECK (kind IN ('training', 'rescoring')),
        CONSTRAINT ck_run__status CHECK (status IN ('pending', 'running', 'done', 'failed', 'cancelled'))
    """,
    "verdict": """
        id               uuid NOT NULL,
        attachment_id    uuid NOT NULL,
        model_version_id uuid NOT NULL,
        run_id           uuid,
        origin           text NOT NULL,
        score            double precision NOT NULL,
        threshold        double precision NOT NULL,
        acceptable       boolean NOT NULL,
        grade            smallint NOT NULL,
        cumulative       double precision[] NOT NULL,
        patch_scores     double precision[] NOT NULL,
        findings         jsonb NOT NULL DEFAULT '[]'::jsonb,
        width            integer NOT NULL,
        height           integer NOT NULL,
        n_frames         integer NOT NULL DEFAULT '1',
        frame            integer NOT NULL DEFAULT '0',
        created_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
        CONSTRAINT pk_verdict PRIMARY KEY (id),
        CONSTRAINT fk_verdict__attachment_id FOREIGN KEY (attachment_id) REFERENCES attachment (id),
        CONSTRAINT fk_verdict__model_version_id FOREIGN KEY (model_version_id) REFERENCES model_version (id),
        CONSTRAINT fk_verdict__run_id FOREIGN KEY (run_id) REFERENCES run (id),
        CONSTRAINT uq_verdict__attachment_id_model_version_id UNIQUE (attachment_id, model_version_id),
        CONSTRAINT ck_verdict__origin CHECK (origin IN ('inbox', 'rescoring', 'shadow'))
    """,
    "decision": """
        id               uuid NOT NULL,
        message_id       uuid NOT NULL,
        supersedes_id    uuid,
        outcome          text NOT NULL,
        reason           text NOT NULL,
        decided_by       text NOT NULL,
        model_version_id uuid,
        actor            text,
        note             text,
        created_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
        position         bigint,
        CONSTRAINT pk_decision PRIMARY KEY (id),
        CONSTRAINT fk_decision__message_id FOREIGN KEY (message_id) REFERENCES message (id),
        CONSTRAINT fk_decision__supersedes_id FOREIGN KEY (supersedes_id) REFERENCES decision (id),
        CONSTRAINT fk_decision__model_version_id FOREIGN KEY (model_version_id) REFERENCES model_version (id),
        CONSTRAINT uq_decision__supersedes_id UNIQUE (supersedes_id),
        CONSTRAINT ck_decision__outcome CHECK (outcome IN ('pass', 'retake', 'uncertain', 'not_assessable')),
        CONSTRAINT ck_decision__reason CHECK (
            reason IN (
                'photo_passed', 'no_photo_passed', 'near_threshold', 'unreadable_photo', 'no_readable_photo',
                'request_limit', 'cooldown', 'identical_resend', 'opted_out', 'override'
            )
        ),
        CONSTRAINT ck_decision__decided_by CHECK (decided_by IN ('model', 'rescoring', 'person')),
        CONSTRAINT ck_decision__actor CHECK ((decided_by = 'person') = (actor IS NOT NULL))
    """,
    "retake_request": """
        id               uuid NOT NULL,
        message_id       uuid NOT NULL,
        thread_id        uuid NOT NULL,
        decision_id      uuid NOT NULL,
        photos           jsonb NOT NULL DEFAULT '[]'::jsonb,
        reply            jsonb,
        status           text NOT NULL,
        claimed_by       text,
        lease_token      uuid,
        lease_until      timestamptz,
        created_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
        sent_at          timestamptz,
        withdrawn_at     timestamptz,
        withdrawn_reason text,
        answered_at      timestamptz,
        revocable        boolean NOT NULL DEFAULT false,
        CONSTRAINT pk_retake_request PRIMARY KEY (id),
        CONSTRAINT fk_retake_request__message_id FOREIGN KEY (message_id) REFERENCES message (id),
        CONSTRAINT fk_retake_request__thread_id FOREIGN KEY (thread_id) REFERENCES thread (id),
        CONSTRAINT fk_retake_request__decision_id FOREIGN KEY (decision_id) REFERENCES decision (id),
        CONSTRAINT uq_retake_request__decision_id UNIQUE (decision_id),
        CONSTRAINT ck_retake_request__status CHECK (status IN ('flagged', 'claimed', 'sent', 'withdrawn')),
        CONSTRAINT ck_retake_request__lease CHECK ((status = 'claimed') = (lease_until IS NOT NULL))
    """,
    "request_review": """
        id         uuid NOT NULL,
        request_id uuid NOT NULL,
        kind       text NOT NULL,
        needless   boolean NOT NULL,
        actor      text NOT NULL,
        note       text,
        created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        CONSTRAINT pk_request_review PRIMARY KEY (id),
        CONSTRAINT fk_request_review__request_id FOREIGN KEY (request_id) REFERENCES retake_request (id),
        CONSTRAINT uq_request_review__request_id_kind_actor UNIQUE (request_id, kind, actor),
        CONSTRAINT ck_request_review__kind CHECK (kind IN ('appeal', 'review', 'ruling')),
        CONSTRAINT ck_request_review__appeal CHECK (kind <> 'appeal' OR needless)
    """,
    "api_client": """
        id                  uuid NOT NULL,
        name                text NOT NULL,
        scopes              text[] NOT NULL,
        sources             text[],
        key_sha256          text,
        previous_key_sha256 text,
        previous_key_until  timestamptz,
        jwks                jsonb,
        jwks_url            text,
        created_at          timestamptz NOT NULL DEFAULT clock_timestamp(),
        revoked_at          timestamptz,
        CONSTRAINT pk_api_client PRIMARY KEY (id),
        CONSTRAINT uq_api_client__name UNIQUE (name),
        CONSTRAINT uq_api_client__key_sha256 UNIQUE (key_sha256),
        CONSTRAINT ck_api_client__one_credential CHECK (num_nonnulls(key_sha256, jwks, jwks_url) = 1)
    """,
    "api_token": """
        sha256      text NOT NULL,
        client_id   uuid NOT NULL,
        scopes      text[] NOT NULL,
        valid_until timestamptz NOT NULL,
        CONSTRAINT pk_api_token PRIMARY KEY (sha256),
        CONSTRAINT fk_api_token__client_id FOREIGN KEY (client_id) REFERENCES api_client (id)
    """,
    "used_assertion": """
        client_id   uuid NOT NULL,
        jti_sha256  text NOT NULL,
        valid_until timestamptz NOT NULL,
        CONSTRAINT pk_used_assertion PRIMARY KEY (client_id, jti_sha256),
        CONSTRAINT fk_used_assertion__client_id FOREIGN KEY (client_id) REFERENCES api_client (id)
    """,
    "waiting_message": """
        message_id       uuid NOT NULL,
        source           text NOT NULL,
        state            text NOT NULL,
        reason           text NOT NULL,
        model_version_id uuid,
        since            timestamptz NOT NULL,
        claimed_by       text,
        lease_until      timestamptz,
        claim_form       uuid,
        assigned_to      text,
        CONSTRAINT pk_waiting_message PRIMARY KEY (message_id),
        CONSTRAINT fk_waiting_message__message_id FOREIGN KEY (message_id) REFERENCES message (id),
        CONSTRAINT fk_waiting_message__model_version_id FOREIGN KEY (model_version_id) REFERENCES model_version (id),
        CONSTRAINT ck_waiting_message__state CHECK (state IN ('uncertain', 'not_assessable', 'appealed')),
        CONSTRAINT ck_waiting_message__reason CHECK (
            reason IN (
                'photo_passed', 'no_photo_passed', 'near_threshold', 'unreadable_photo', 'no_readable_photo',
                'request_limit', 'cooldown', 'identical_resend', 'opted_out', 'override'
            )
        ),
        CONSTRAINT ck_waiting_message__claim CHECK ((claimed_by IS NULL) = (lease_until IS NULL))
    """,
    "photo_review": """
        id         uuid NOT NULL,
        name       text NOT NULL,
        rule       jsonb NOT NULL,
        created_by text NOT NULL,
        created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        closed_at  timestamptz,
        CONSTRAINT pk_photo_review PRIMARY KEY (id),
        CONSTRAINT uq_photo_review__name UNIQUE (name)
    """,
    "reviewed_photo": """
        id            uuid NOT NULL,
        review_id     uuid NOT NULL,
        attachment_id uuid NOT NULL,
        place         integer NOT NULL,
        reviewers     smallint NOT NULL,
        wanted        smallint NOT NULL,
        votes         smallint NOT NULL DEFAULT '0',
        claimed_by    text,
        lease_until   timestamptz,
        CONSTRAINT pk_reviewed_photo PRIMARY KEY (id),
        CONSTRAINT fk_reviewed_photo__review_id FOREIGN KEY (review_id) REFERENCES photo_review (id),
        CONSTRAINT fk_reviewed_photo__attachment_id FOREIGN KEY (attachment_id) REFERENCES attachment (id),
        CONSTRAINT uq_reviewed_photo__review_id_attachment_id UNIQUE (review_id, attachment_id),
        CONSTRAINT ck_reviewed_photo__claim CHECK ((claimed_by IS NULL) = (lease_until IS NULL))
    """,
    "photo_vote": """
        id           uuid NOT NULL,
        photo_id     uuid NOT NULL,
        actor        text NOT NULL,
        good         boolean NOT NULL,
        reasons      text[] NOT NULL DEFAULT '{}',
        created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
        withdrawn_at timestamptz,
        CONSTRAINT pk_photo_vote PRIMARY KEY (id),
        CONSTRAINT fk_photo_vote__photo_id FOREIGN KEY (photo_id) REFERENCES reviewed_photo (id),
        CONSTRAINT ck_photo_vote__reasons CHECK (NOT good OR cardinality(reasons) = 0)
    """,
    "staff": """
        id            uuid NOT NULL,
        name          text NOT NULL,
        role          text NOT NULL,
        password_hash text,
        issuer        text,
        subject       text,
        created_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
        disabled_at   timestamptz,
        CONSTRAINT pk_staff PRIMARY KEY (id),
        CONSTRAINT uq_staff__name UNIQUE (name),
        CONSTRAINT uq_staff__issuer_subject UNIQUE (issuer, subject),
        CONSTRAINT ck_staff__role CHECK (role IN ('reader', 'reviewer', 'manager', 'administrator')),
        CONSTRAINT ck_staff__identity CHECK ((issuer IS NULL) = (subject IS NULL)),
        CONSTRAINT ck_staff__one_credential CHECK (num_nonnulls(password_hash, subject) = 1)
    """,
    "staff_session": """
        sha256         text NOT NULL,
        staff_id       uuid NOT NULL,
        browser_sha256 text NOT NULL,
        created_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
        seen_at        timestamptz NOT NULL DEFAULT clock_timestamp(),
        ended_at       timestamptz,
        CONSTRAINT pk_staff_session PRIMARY KEY (sha256),
        CONSTRAINT fk_staff_session__staff_id FOREIGN KEY (staff_id) REFERENCES staff (id)
    """,
    "login_attempt": """
        sha256   text NOT NULL,
        attempts integer NOT NULL DEFAULT '1',
        since    timestamptz NOT NULL DEFAULT clock_timestamp(),
        CONSTRAINT pk_login_attempt PRIMARY KEY (sha256)
    """,
    "delivery_target": """
        name       text NOT NULL,
        collects   text,
        created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        CONSTRAINT pk_delivery_target PRIMARY KEY (name)
    """,
    "delivery": """
        id               uuid NOT NULL,
        target           text NOT NULL,
        kind             text NOT NULL,
        message_id       uuid NOT NULL,
        subject_id       uuid NOT NULL,
        status           text NOT NULL,
        attempts         smallint NOT NULL DEFAULT '0',
        due_at           timestamptz NOT NULL DEFAULT clock_timestamp(),
        lease_token      uuid,
        error            text,
        answer           smallint,
        created_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
        first_attempt_at timestamptz,
        last_attempt_at  timestamptz,
        finished_at      timestamptz,
        CONSTRAINT pk_delivery PRIMARY KEY (id),
        CONSTRAINT fk_delivery__message_id FOREIGN KEY (message_id) REFERENCES message (id),
        CONSTRAINT ck_delivery__kind CHECK (
            kind IN ('message.decided', 'retake.requested', 'retake.withdrawn', 'retake.answered')
        ),
        CONSTRAINT ck_delivery__status CHECK (status IN ('pending', 'delivered', 'dead', 'dropped')),
        CONSTRAINT ck_delivery__error CHECK (
            error IN (
                'address_not_allowed', 'unreachable', 'untrusted_certificate', 'timed_out', 'cut_off', 'redirected',
                'refused', 'gone', 'defect'
            )
        ),
        CONSTRAINT ck_delivery__finished CHECK ((status = 'pending') = (finished_at IS NULL))
    """,
    "assessment": """
        id         uuid NOT NULL,
        created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        expires_at timestamptz NOT NULL,
        is_ready   boolean NOT NULL DEFAULT false,
        is_taken   boolean NOT NULL DEFAULT false,
        answer     jsonb,
        CONSTRAINT pk_assessment PRIMARY KEY (id)
    """,
    "arrival_source": """
        name         text NOT NULL,
        known_until  timestamptz NOT NULL,
        due_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
        lease_token  uuid,
        announced    integer NOT NULL DEFAULT '0',
        failed       boolean NOT NULL DEFAULT false,
        subscription text,
        events       bigint NOT NULL DEFAULT '0',
        CONSTRAINT pk_arrival_source PRIMARY KEY (name)
    """,
    "arrival": """
        id          uuid NOT NULL,
        source      text NOT NULL,
        reference   text NOT NULL,
        version     text,
        announced   integer NOT NULL DEFAULT '1',
        status      text NOT NULL,
        attempts    smallint NOT NULL DEFAULT '0',
        due_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
        lease_token uuid,
        error       text,
        created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
        finished_at timestamptz,
        CONSTRAINT pk_arrival PRIMARY KEY (id),
        CONSTRAINT uq_arrival__source_reference UNIQUE (source, reference),
        CONSTRAINT ck_arrival__status CHECK (status IN ('pending', 'done', 'ignored', 'dead')),
        CONSTRAINT ck_arrival__error CHECK (error IN ('malformed', 'rejected', 'defect')),
        CONSTRAINT ck_arrival__finished CHECK ((status = 'pending') = (finished_at IS NULL)),
        CONSTRAINT ck_arrival__dead CHECK ((status = 'dead') = (error IS NOT NULL))
    """,
    "archived_count": """
        id               uuid NOT NULL,
        kind             text NOT NULL,
        day              date NOT NULL,
        source           text,
        role             text,
        locale           text,
        fitzpatrick      text,
        model_version_id uuid,
        run_id           uuid,
        label            text,
        bin              smallint,
        n                bigint NOT NULL,
        total            double precision,
        CONSTRAINT pk_archived_count PRIMARY KEY (id),
        CONSTRAINT fk_archived_count__model_version_id FOREIGN KEY (model_version_id) REFERENCES model_version (id),
        CONSTRAINT fk_archived_count__run_id FOREIGN KEY (run_id) REFERENCES run (id),
        CONSTRAINT ck_archived_count__kind CHECK (
            kind IN (
                'messages', 'overrides', 'forgotten', 'photos', 'errors', 'requests', 'scores', 'shadows', 'reasons',
                'flips', 'purged', 'hours', 'decision_reasons', 'reviews'
            )
        )
    """,
    "audit_event": """
        id            uuid NOT NULL,
        at            timestamptz NOT NULL DEFAULT clock_timestamp(),
        actor         text NOT NULL,
        action        text NOT NULL,
        subject_kind  text NOT NULL,
        subject_id    uuid NOT NULL,
        details       jsonb NOT NULL DEFAULT '{}'::jsonb,
        position      bigint NOT NULL,
        previous_hash text NOT NULL,
        hash          text NOT NULL,
        CONSTRAINT pk_audit_event PRIMARY KEY (id),
        CONSTRAINT uq_audit_event__position UNIQUE (position)
    """,
    "audit_head": """
        id       smallint NOT NULL DEFAULT '1',
        position bigint NOT NULL,
        hash     text NOT NULL,
        CONSTRAINT pk_audit_head PRIMARY KEY (id),
        CONSTRAINT ck_audit_head__one_row CHECK (id = 1)
    """,
}

# message and decision refer to each other, so one foreign key has to be added after both tables exist.
CURRENT_DECISION = "fk_message__current_decision_id"

# The hash before the first audit event.
FIRST_AUDIT_HEAD = "INSERT INTO audit_head (position, hash) VALUES (0, repeat('0', 64))"

# The id that marks the store of photos of this database.
PHOTO_STORE = "INSERT INTO photo_store (marker) VALUES (gen_random_uuid())"

# Indexes: name -> (table, columns and predicate, the query that the index serves). The query becomes its comment.

INDEXES = {
    "ix_message__received_at": ("message", "(received_at)", "reports: messages since a time"),
    "ix_message__thread_id": ("message", "(thread_id)", "decisions: a thread's earlier photos"),
    "ix_message__undecided": (
        "message",
        "(received_at) WHERE current_decision_id IS NULL",
        "reports: oldest pending message",
    ),
    "ix_message__external_id": ("message", "(external_id)", "commands: a message by its sender's id without a source"),
    "ix_message__current_decision_id": (
        "message",
        "(current_decision_id)",
        "archive: the message of a decision to delete",
    ),
    "ix_message__forgotten_at": (
        "message",
        "(forgotten_at) WHERE forgotten_at IS NOT NULL",
        "reports: messages forgotten",
    ),
    "ix_blob__to_purge": (
        "blob",
        "(purge_after) WHERE purge_after IS NOT NULL AND purged_at IS NULL",
        "retention: blobs marked for deletion whose bytes still exist",
    ),
    "ix_blob__unmarked": (
        "blob",
        "(created_at) WHERE purge_after IS NULL",
        "retention: the oldest blobs not marked for deletion",
    ),
    "ix_blob__purged_at": ("blob", "(purged_at) WHERE purged_at IS NOT NULL", "reports: photos purged"),
    "ix_attachment__fresh": (
        "attachment",
        "(due_at, id) WHERE status = 'pending' AND attempts = 0 AND lost_leases = 0",
        "inbox: claim of photos never attempted",
    ),
    "ix_attachment__retry": (
        "attachment",
        "(due_at, id) WHERE status = 'pending' AND (attempts > 0 OR lost_leases > 0)",
        "inbox: claim of one photo that failed or was lost before",
    ),
    "ix_attachment__unread": (
        "attachment",
        "(id) WHERE status = 'pending' AND storage_faults > 0",
        "health: photos whose storage did not provide their bytes",
    ),
    "ix_attachment__lease_until": (
        "attachment",
        "(lease_until) WHERE status = 'in_progress'",
        "inbox: sweep of expired leases",
    ),
    "ix_attachment__sha256": ("attachment", "(sha256)", "retention: the attachments of a blob"),
    "uq_model_version__live": (
        "model_version",
        "(stage) WHERE stage = 'live'",
        "models: the live model, at most one",
    ),
    "ix_run__open": (
        "run",
        "(kind, created_at) WHERE status IN ('pending', 'running')",
        "runs: the next run to claim",
    ),
    "ix_verdict__created_at": ("verdict", "(created_at)", "reports: scores since a time; health by progress"),
    "ix_verdict__run_id": ("verdict", "(run_id) WHERE run_id IS NOT NULL", "runs: verdicts of a rescoring"),
    "uq_decision__first": (
        "decision",
        "(message_id) WHERE supersedes_id IS NULL",
        "decisions: at most one first decision for a message, so one chain",
    ),
    "ix_decision__message_id": ("decision", "(message_id)", "explain: a message's decisions"),
    "uq_decision__position": (
        "decision",
        "(position) WHERE position IS NOT NULL",
        "feed: decisions after a cursor",
    ),
    "ix_decision__unnumbered": (
        "decision",
        "(created_at, id) WHERE position IS NULL",
        "feed: decisions without a position",
    ),
    "uq_retake_request__active": (
        "retake_request",
        "(message_id) WHERE status <> 'withdrawn'",
        "outbox: at most one request for a message",
    ),
    "ix_retake_request__open": (
        "retake_request",
        "(created_at) WHERE status IN ('flagged', 'claimed')",
        "outbox: claim of unsent requests",
    ),
    "ix_retake_request__message_id": ("retake_request", "(message_id)", "explain: a message's requests"),
    "ix_retake_request__thread_id": ("retake_request", "(thread_id)", "decisions: a thread's earlier requests"),
    "ix_retake_request__status": ("retake_request", "(status, created_at)", "retakes: the newest of a status"),
    "ix_retake_request__created_at": ("retake_request", "(created_at)", "reports: requests since a time"),
    "ix_api_token__valid_until": ("api_token", "(valid_until)", "clients: access tokens that have expired"),
    "ix_used_assertion__valid_until": ("used_assertion", "(valid_until)", "clients: assertions that have expired"),
    "ix_waiting_message__since": ("waiting_message", "(since, message_id)", "queue: the oldest messages"),
    "ix_waiting_message__reason": (
        "waiting_message",
        "(reason, since, message_id)",
        "queue: the oldest messages of a reason",
    ),
    "ix_waiting_message__source": (
        "waiting_message",
        "(source, since, message_id)",
        "queue: the oldest messages of a source; the sources",
    ),
    "ix_waiting_message__state": (
        "waiting_message",
        "(state, since, message_id)",
        "queue: the oldest messages in a state",
    ),
    "ix_waiting_message__model_version_id": (
        "waiting_message",
        "(model_version_id, since, message_id)",
        "queue: the oldest messages of a model; the models",
    ),
    "ix_reviewed_photo__to_vote": (
        "reviewed_photo",
        "(review_id, place) WHERE votes < wanted",
        "photo reviews: the next photo of a reviewer",
    ),
    "ix_reviewed_photo__attachment_id": (
        "reviewed_photo",
        "(attachment_id)",
        "forget, archive: the reviews of a photo",
    ),
    "ix_photo_vote__photo_id": ("photo_vote", "(photo_id)", "photo reviews: the votes on a photo"),
    "uq_photo_vote__counted": (
        "photo_vote",
        "(photo_id, actor) WHERE withdrawn_at IS NULL",
        "photo reviews: at most one vote of a person on a photo",
    ),
    "ix_waiting_message__assigned_to": (
        "waiting_message",
        "(assigned_to, since, message_id) WHERE assigned_to IS NOT NULL",
        "queue: the oldest messages that were sent to a person",
    ),
    "ix_waiting_message__claim_form": (
        "waiting_message",
        "(claim_form) WHERE claim_form IS NOT NULL",
        "queue: the message that a form has claimed",
    ),
    "ix_staff_session__staff_id": ("staff_session", "(staff_id)", "staff: the sessions of an account"),
    "ix_staff_session__created_at": ("staff_session", "(created_at)", "staff: sessions to delete"),
    "ix_login_attempt__since": ("login_attempt", "(since)", "staff: attempts that have expired"),
    "ix_origin__created_at": ("origin", "(created_at)", "retention: the oldest references"),
    "ix_delivery__due": (
        "delivery",
        "(target, due_at) WHERE status = 'pending'",
        "deliveries: claim of events to send",
    ),
    "ix_delivery__dead": (
        "delivery",
        "(target, id) WHERE status = 'dead'",
        "deliveries: those that a person retries or drops",
    ),
    "ix_delivery__closed": (
        "delivery",
        "(finished_at) WHERE status IN ('delivered', 'dropped')",
        "retention: delivered and dropped events to delete; metrics of the last day",
    ),
    "ix_delivery__message_id": ("delivery", "(message_id)", "forget, archive: the events of a message"),
    "ix_arrival__due": ("arrival", "(source, due_at) WHERE status = 'pending'", "arrivals: claim of messages to read"),
    "ix_arrival__dead": ("arrival", "(source, id) WHERE status = 'dead'", "arrivals: those that cannot be read"),
    "ix_arrival__read": (
        "arrival",
        "(finished_at) WHERE status <> 'pending'",
        "retention: messages that were read long ago",
    ),
    "ix_archived_count__kind": ("archived_count", "(kind, day)", "reports: archived counts since a day"),
    "ix_archived_count__run_id": (
        "archived_count",
        "(run_id) WHERE run_id IS NOT NULL",
        "runs: archived flips of a rescoring",
    ),
    "ix_audit_event__subject_id": ("audit_event", "(subject_id)", "explain: audit events of a message"),
    "ix_audit_event__proposal": (
        "audit_event",
        "(position) WHERE subject_kind = 'proposal'",
        "proposals: what was saved and applied",
    ),
}

# Functions: signature -> definition. The fixed search path excludes objects of other schemas.

FUNCTIONS = {
    "refuse_change()": """
RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: insert a new row', TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation';
END
$$
""",
    # A shadow verdict may become one that counts. A verdict may be deleted only by archiving its thread.
    "keep_verdict()": """
RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    changeable CONSTANT text[] := ARRAY['origin', 'run_id', 'threshold', 'acceptable'];
BEGIN
    IF TG_OP = 'UPDATE' AND OLD.origin = 'shadow' AND NEW.origin <> 'shadow'
       AND to_jsonb(NEW) - changeable = to_jsonb(OLD) - changeable THEN
        RETURN NEW;
    END IF;
    IF TG_OP = 'DELETE' AND EXISTS (
        SELECT FROM attachment JOIN message ON message.id = message_id JOIN thread ON thread.id = thread_id
        WHERE attachment.id = OLD.attachment_id AND archived_at IS NOT NULL
    ) THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'verdict is append-only: each model has one verdict for an attachment'
        USING ERRCODE = 'restrict_violation';
END
$$
""",
    # The feed gives each decision a position, once. Forgetting a message may remove the note of its decisions. Only
    # archiving its thread may delete a decision.
    "keep_decision()": """
RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND OLD.position IS NULL AND NEW.position IS NOT NULL
       AND to_jsonb(NEW) - 'position' = to_jsonb(OLD) - 'position' THEN
        RETURN NEW;
    END IF;
    IF TG_OP = 'UPDATE' AND NEW.note IS NULL AND to_jsonb(NEW) - 'note' = to_jsonb(OLD) - 'note'
       AND EXISTS (SELECT FROM message WHERE id = OLD.message_id AND forgotten_at IS NOT NULL) THEN
        RETURN NEW;
    END IF;
    IF TG_OP = 'DELETE' AND EXISTS (
        SELECT FROM message JOIN thread ON thread.id = thread_id
        WHERE message.id = OLD.message_id AND archived_at IS NOT NULL
    ) THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'decision is append-only: insert a new row'
        USING ERRCODE = 'restrict_violation';
END
$$
""",
    # A committed `archived_at` would allow deleting single rows of a live thread, so the commit is rejected.
    "require_whole_thread()": """
RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM thread WHERE id = NEW.id) THEN
        RAISE EXCEPTION 'a thread must be archived as a whole' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NULL;
END
$$
""",
    # A message moves to the next decision of its chain. Only archiving its thread may clear the current decision.
    "follow_decisions()": """
RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF NEW.current_decision_id IS NOT DISTINCT FROM OLD.current_decision_id
       OR EXISTS (SELECT FROM decision WHERE id = NEW.current_decision_id AND message_id = NEW.id
                  AND supersedes_id IS NOT DISTINCT FROM OLD.current_decision_id)
       OR NEW.current_decision_id IS NULL
          AND EXISTS (SELECT FROM thread WHERE id = NEW.thread_id AND archived_at IS NOT NULL) THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'a message''s current decision must be the last of its chain' USING ERRCODE = 'restrict_violation';
END
$$
""",
    # Those who wait for a decision listen on this channel.
    "announce_decision()": """
RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    PERFORM pg_notify('triage_decision', NEW.id::text);
    RETURN NULL;
END
$$
""",
    # A parked photo may be tried again; a verdict is final.
    "keep_result()": """
RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF OLD.status = 'not_assessable' AND NEW.status = 'pending' AND NEW.sha256 IS NOT DISTINCT FROM OLD.sha256
       OR EXISTS (SELECT FROM message WHERE id = NEW.message_id AND forgotten_at IS NOT NULL) THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'the result of a photo is final' USING ERRCODE = 'restrict_violation';
END
$$
""",
    # The sender of a withdrawn request may still record that the reply had been sent. A system that takes requests back
    # has them withdrawn after they were sent.
    "keep_request()": """
RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    ended CONSTANT text[] := ARRAY['status', 'withdrawn_at', 'withdrawn_reason'];
BEGIN
    IF OLD.status = 'withdrawn' AND OLD.claimed_by IS NOT NULL AND OLD.sent_at IS NULL
       AND to_jsonb(NEW) - 'sent_at' = to_jsonb(OLD) - 'sent_at' THEN
        RETURN NEW;
    END IF;
    IF OLD.status = 'sent' AND OLD.revocable AND NEW.status = 'withdrawn'
       AND to_jsonb(NEW) - ended = to_jsonb(OLD) - ended THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'a sent or withdrawn retake request is final' USING ERRCODE = 'restrict_violation';
END
$$
""",
    # Runs at commit. The event must name the decision and belong to the same transaction, not to a savepoint.
    "require_audit_event()": """
RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM audit_event WHERE subject_id = NEW.message_id AND subject_kind = 'message'
               AND action = 'message.overridden' AND actor = NEW.actor AND details ->> 'outcome' = NEW.outcome
               AND details ->> 'decision' = NEW.id::text AND audit_event.xmin = pg_current_xact_id()::xid) THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION 'a person''s decision requires its audit event' USING ERRCODE = 'restrict_violation';
END
$$
""",
    # Each field is encoded as `length:bytes,`, so two different events never have the same encoding.
    # `triage.storage.audit` computes the same hash in Python.
    "audit_hash(event audit_event)": """
RETURNS text LANGUAGE sql STABLE
SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT encode(sha256(convert_to(string_agg(octet_length(field) || ':' || field || ',', '' ORDER BY n), 'UTF8')),
                  'hex')
    FROM unnest(ARRAY[
        event.previous_hash, event.position::text, event.id::text,
        to_char(event.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
        event.actor, event.action, event.subject_kind, event.subject_id::text, event.details::text
    ]) WITH ORDINALITY AS fields (field, n)
$$
""",
    # The row lock on the head serialises writers until they commit, so the chain never forks.
    "chain_audit_event()": """
RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    head audit_head;
BEGIN
    SELECT * INTO STRICT head FROM audit_head FOR UPDATE;
    NEW.at := clock_timestamp();
    IF jsonb_typeof(NEW.details) <> 'object' THEN
        RAISE EXCEPTION 'the details of an event must be an object' USING ERRCODE = 'check_violation';
    END IF;
    NEW.details := NEW.details || jsonb_build_object('role', session_user);
    NEW.position := head.position + 1;
    NEW.previous_hash := head.hash;
    NEW.hash := audit_hash(NEW);
    UPDATE audit_head SET position = NEW.position, hash = NEW.hash;
    RETURN NEW;
END
$$
""",
    # SECURITY DEFINER lets a role without INSERT on audit_event record a view, and nothing else.
    "record_view(event uuid, seen uuid, by_whom text)": """
RETURNS void LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp AS $$
    INSERT INTO audit_event (id, actor, action, subject_kind, subject_id)
    SELECT event, by_whom, 'message.seen', 'message', id FROM message WHERE id = seen
$$
""",
    # SECURITY DEFINER gives callers this one change, complete and with its audit event.
    "forget_message(event uuid, forgotten uuid, by_whom text, why text)": """
RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    conversation uuid;
    photos integer;
BEGIN
    DELETE FROM arrival USING message
    WHERE message.id = forgotten AND arrival.source = message.source AND arrival.reference = message.external_id;
    UPDATE message
    SET external_id = 'forgotten:' || id, locale = 'und', fitzpatrick = NULL, forgotten_at = clock_timestamp()
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
    DELETE FROM origin WHERE message_id = forgotten;
    DELETE FROM photo_vote USING reviewed_photo, attachment
    WHERE photo_id = reviewed_photo.id AND attachment_id = attachment.id AND message_id = forgotten;
    DELETE FROM reviewed_photo USING attachment WHERE attachment_id = attachment.id AND message_id = forgotten;
    UPDATE decision SET note = NULL WHERE message_id = forgotten AND note IS NOT NULL;
    UPDATE retake_request SET reply = NULL WHERE message_id = forgotten AND reply IS NOT NULL;
    UPDATE request_review SET note = NULL FROM retake_request
    WHERE retake_request.id = request_id AND message_id = forgotten AND note IS NOT NULL;
    INSERT INTO audit_event (id, actor, action, subject_kind, subject_id, details)
    VALUES (event, by_whom, 'message.forgotten', 'message', forgotten,
            jsonb_build_object('reason', why, 'photos', photos));
END
$$
""",
}

# Positions in the feed of decisions. `DROP TABLE` drops it.
SEQUENCE = "CREATE SEQUENCE decision_position OWNED BY decision.position"

TRIGGERS = """
-- History is append-only.
CREATE TRIGGER verdict_append_only BEFORE UPDATE OR DELETE ON verdict
    FOR EACH ROW EXECUTE FUNCTION keep_verdict();
CREATE TRIGGER verdict_no_truncate BEFORE TRUNCATE ON verdict
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER decision_append_only BEFORE UPDATE OR DELETE ON decision
    FOR EACH ROW EXECUTE FUNCTION keep_decision();
CREATE TRIGGER decision_no_truncate BEFORE TRUNCATE ON decision
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER audit_event_append_only BEFORE UPDATE OR DELETE ON audit_event
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER audit_event_no_truncate BEFORE TRUNCATE ON audit_event
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER archived_count_append_only BEFORE UPDATE OR DELETE ON archived_count
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER archived_count_no_truncate BEFORE TRUNCATE ON archived_count
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER audit_head_permanent BEFORE DELETE OR TRUNCATE ON audit_head
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- An opt-out is permanent.
CREATE TRIGGER message_keeps_opt_out BEFORE UPDATE OF opted_out ON message
    FOR EACH ROW WHEN (OLD.opted_out AND NOT NEW.opted_out) EXECUTE FUNCTION refuse_change();

-- Results are final.
CREATE TRIGGER message_follows_decisions BEFORE UPDATE OF current_decision_id ON message
    FOR EACH ROW EXECUTE FUNCTION follow_decisions();
CREATE TRIGGER attachment_keeps_result BEFORE UPDATE OF status, error_code, sha256, finished_at ON attachment
    FOR EACH ROW WHEN (OLD.status IN ('scored', 'not_assessable')) EXECUTE FUNCTION keep_result();
CREATE TRIGGER retake_request_is_final BEFORE UPDATE OF status, sent_at, withdrawn_at, revocable ON retake_request
    FOR EACH ROW WHEN (
        OLD.status IN ('sent', 'withdrawn')
        AND (NEW.status <> OLD.status
             OR NEW.sent_at IS DISTINCT FROM OLD.sent_at
             OR NEW.withdrawn_at IS DISTINCT FROM OLD.withdrawn_at
             OR NEW.revocable IS DISTINCT FROM OLD.revocable)
    ) EXECUTE FUNCTION keep_request();

-- Audit events form a chain of hashes, and a person's decision requires one.
CREATE TRIGGER audit_event_chained BEFORE INSERT ON audit_event
    FOR EACH ROW EXECUTE FUNCTION chain_audit_event();
CREATE CONSTRAINT TRIGGER decision_requires_audit_event AFTER INSERT ON decision DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (NEW.decided_by = 'person') EXECUTE FUNCTION require_audit_event();

-- Those who wait for a decision learn of its commit.
CREATE TRIGGER message_announces_decision AFTER UPDATE OF current_decision_id ON message
    FOR EACH ROW WHEN (NEW.current_decision_id IS NOT NULL) EXECUTE FUNCTION announce_decision();

-- Archiving removes a whole thread.
CREATE CONSTRAINT TRIGGER thread_archived_whole AFTER INSERT OR UPDATE OF archived_at ON thread
    DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (NEW.archived_at IS NOT NULL) EXECUTE FUNCTION require_whole_thread();
"""


def upgrade() -> None:
    for table, columns in TABLES.items():
        op.execute(f"CREATE {'UNLOGGED ' if table == 'assessment' else ''}TABLE {table} ({columns})")
    op.create_foreign_key(CURRENT_DECISION, "message", "decision", ["current_decision_id"], ["id"])
    op.execute(SEQUENCE)
    op.execute(FIRST_AUDIT_HEAD)
    op.execute(PHOTO_STORE)
    for index, (table, definition, query) in INDEXES.items():
        unique = "UNIQUE" if index.startswith("uq_") else ""
        op.execute(f"CREATE {unique} INDEX {index} ON {table} {definition}")
        op.execute(f"COMMENT ON INDEX {index} IS '{query.replace(chr(39), chr(39) * 2)}'")
    for signature, definition in FUNCTIONS.items():
        op.execute(f"CREATE FUNCTION {signature} {definition}")
    op.execute(TRIGGERS)


def downgrade() -> None:
    for signature in FUNCTIONS:
        op.execute(f"DROP FUNCTION {signature} CASCADE")  # with its triggers
    op.drop_constraint(CURRENT_DECISION, "message", type_="foreignkey")
    for table in reversed(TABLES):
        op.drop_table(table)
