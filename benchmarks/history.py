"""Fills a database with years of messages, inserted directly into the tables.

Every message has three photos with a verdict of the live model; the latest tenth has one of a shadow model too. Photos
older than one year are purged. Ids are UUIDv7 of the time of receipt. Every third request is answered a day later
in its thread, and one in five is reviewed.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import Engine, text

PHOTOS_PER_MESSAGE = 3
SHADOWED = 0.1
MESSAGES_AT_ONCE = 20_000
UNREADABLE = 1 / 75
ANSWER_AFTER = 2808
"""Messages between one with a request and the one that answers it; a day at ten million verdicts in three years."""

_UUID7 = """
CREATE FUNCTION pg_temp.uuid7(at timestamptz, what text, n bigint) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
    SELECT (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7' || substr(h, 1, 3) || '8'
            || substr(h, 4, 15))::uuid FROM md5(what || n) h
$$
"""

_ARRIVING = (
    "DROP TABLE IF EXISTS sent, taken",
    """
    CREATE TEMPORARY TABLE sent AS
    SELECT n, at, pg_temp.uuid7(at, 'message', n) AS id, pg_temp.uuid7(at, 'decision', n) AS decision_id,
           pg_temp.uuid7(CAST(:start AS timestamptz) + first_n * CAST(:step AS interval), 'thread', first_n)
               AS thread_id,
           n > first_n AS is_answer, n % 20 < 3 AS is_bad
    FROM (SELECT n, CAST(:start AS timestamptz) + n * CAST(:step AS interval) AS at,
                 CASE WHEN n % 20 = 10 AND n >= :answer_after THEN n - :answer_after ELSE n END AS first_n
          FROM generate_series(CAST(:first AS bigint), CAST(:last AS bigint)) n) numbers
    """,
    """
    CREATE TEMPORARY TABLE taken AS
    SELECT sent.n, k, at, is_bad, sent.id AS message_id, pg_temp.uuid7(at, 'photo', n * 10 + k) AS id,
           md5('a' || n * 10 + k) || md5('b' || n * 10 + k) AS sha256, k = 2 AND n % 25 = 7 AS is_unreadable,
           CASE WHEN is_bad THEN .1 ELSE .6 END + (n % 1000) / 3000.0 AS score
    FROM sent CROSS JOIN generate_series(0, CAST(:photos AS bigint) - 1) k
    """,
)

_ROWS = (
    """
    INSERT INTO thread (id, source, external_id) SELECT thread_id, 'source-' || n % 3, 't' || n FROM sent
    WHERE NOT is_answer ORDER BY n
    """,
    """
    INSERT INTO message (id, source, external_id, thread_id, role, locale, opted_out, fitzpatrick, received_at,
                         current_decision_id)
    SELECT id, 'source-' || n % 3, 'm' || n, thread_id, CASE n % 4 WHEN 0 THEN 'clinician' ELSE 'patient' END,
           CASE n % 5 WHEN 0 THEN 'es' ELSE 'en' END, false, (ARRAY['I', 'II', 'III', 'IV', 'V', 'VI'])[n % 8 + 1], at,
           decision_id
    FROM sent ORDER BY n
    """,
    """
    INSERT INTO blob (sha256, media_type, size_bytes, created_at, purge_after, purged_at)
    SELECT sha256, 'image/jpeg', 2000000, at, gone_at, gone_at
    FROM taken CROSS JOIN LATERAL (SELECT CASE WHEN at < :kept_from THEN at + interval '365 days' END AS gone_at) kept
    ORDER BY sha256
    """,
    """
    INSERT INTO attachment (id, message_id, external_id, media_type, sha256, status, error_code, attempts, due_at,
                            created_at, finished_at)
    SELECT id, message_id, 'a' || k, 'image/jpeg', sha256,
           CASE WHEN is_unreadable THEN 'not_assessable' ELSE 'scored' END,
           CASE WHEN is_unreadable THEN 'corrupt' END, 1, at, at, at + interval '2 seconds'
    FROM taken ORDER BY n, k
    """,
    """
    INSERT INTO verdict (id, attachment_id, model_version_id, origin, score, threshold, acceptable, grade, cumulative,
                         patch_scores, findings, width, height, created_at)
    SELECT pg_temp.uuid7(at, origin, n * 10 + k), id, model, origin, score, .5, score >= .5, 3, ARRAY[.9, .8, .6, .2],
           ARRAY[score, score, score, score, score],
           CASE WHEN is_bad THEN '[{"kind": "defocus", "level": "severe", "strength": 0.8}]'::jsonb ELSE '[]' END,
           3000, 4000, at + interval '2 seconds'
    FROM taken CROSS JOIN (VALUES ('inbox', CAST(:live AS uuid), 0::bigint), ('shadow', :shadow, :shadowed_from))
         judges (origin, model, first)
    WHERE n >= first AND NOT is_unreadable ORDER BY n, k
    """,
    """
    INSERT INTO decision (id, message_id, outcome, reason, decided_by, model_version_id, created_at)
    SELECT decision_id, id, CASE WHEN is_bad THEN 'retake' ELSE 'pass' END,
           CASE WHEN is_bad THEN 'no_photo_passed' ELSE 'photo_passed' END, 'model', :live, at + interval '2 seconds'
    FROM sent ORDER BY n
    """,
    """
    INSERT INTO retake_request (id, message_id, thread_id, decision_id, photos, reply, status, claimed_by, created_at,
                                sent_at)
    SELECT pg_temp.uuid7(at, 'request', n), id, thread_id, decision_id,
           jsonb_build_array(jsonb_build_object('id', pg_temp.uuid7(at, 'photo', n * 10), 'score', .2, 'reasons',
                                                '[{"kind": "defocus", "severity": "severe"}]'::jsonb)),
           jsonb_build_object('locale', 'en', 'catalogue_version', 'benchmark', 'subject', 'New photos, please',
                              'text', repeat('Take the photo again in good light. ', 20)),
           'sent', 'sender', at + interval '2 seconds', at + interval '1 minute'
    FROM sent WHERE is_bad ORDER BY n
    """,
    """
    INSERT INTO request_review (id, request_id, kind, needless, actor, created_at)
    SELECT pg_temp.uuid7(at, 'review', n), pg_temp.uuid7(at, 'request', n), 'review', n % 400 = 0, 'reader-1',
           at + interval '2 days'
    FROM sent WHERE is_bad AND n % 100 < 3 ORDER BY n
    """,
)


def write_history(
    engine: Engine, n_verdicts: int, *, live: UUID, shadow: UUID, until: datetime, years: float = 3
) -> Iterator[tuple[int, int]]:
    """Writes `verdicts` verdicts with their rows; yields the messages written so far and in total."""
    n_messages = round(n_verdicts / (1 + SHADOWED) / (1 - UNREADABLE) / PHOTOS_PER_MESSAGE)
    span = timedelta(days=365.25 * years)
    values = {
        "start": until - span,
        "step": span / n_messages,
        "answer_after": ANSWER_AFTER,
        "live": live,
        "shadow": shadow,
        "shadowed_from": round(n_messages * (1 - SHADOWED)),
        "photos": PHOTOS_PER_MESSAGE,
        "kept_from": until - timedelta(days=365),
    }
    with engine.connect() as connection:
        connection.execute(text(_UUID7))
        connection.execute(text("SET session_replication_role = replica"))  # skips foreign keys and triggers
        connection.execute(text("SET synchronous_commit = off"))
        connection.commit()
        for first in range(0, n_messages, MESSAGES_AT_ONCE):
            last = min(first + MESSAGES_AT_ONCE, n_messages) - 1
            for statement in (*_ARRIVING, *_ROWS):
                connection.execute(text(statement), values | {"first": first, "last": last})
            connection.commit()
            yield last + 1, n_messages
        connection.invalidate()  # the connection must not be reused with these settings
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("SET statement_timeout = 0"))
        connection.execute(text("VACUUM (ANALYZE, FREEZE)"))
