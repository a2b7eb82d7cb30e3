"""Reports on past days keep their numbers when threads are archived, forgotten and purged."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import DBAPIError

from tests.support.clinic import Clinic
from tests.support.rescoring import LEASE, OtherModel, step
from triage.blobs.store import BlobStore
from triage.domain.ids import RunId
from triage.domain.messages import HeldRequest
from triage.domain.reporting import Dimension, Period
from triage.domain.runs import RescoringParameters
from triage.domain.states import Outcome
from triage.reports.flips import flips_of
from triage.reports.html import render_html
from triage.reports.summary import report
from triage.retakes.override import override
from triage.retakes.reviews import appeal, review
from triage.retention.archive import archive_threads
from triage.retention.forget_archived import forget_archived
from triage.retention.purge import Retention
from triage.scoring.rescoring import Rescoring
from triage.scoring.start import create_run
from triage.storage import outbox
from worker.cli.report import to_table

TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
DAY = timedelta(days=1)
LACKING = ("times", "retake_outcomes")
"""The parts of a report that do not count archived threads, as it says itself."""

PERIODS = [
    Period(),
    Period(since=TODAY),
    Period(until=TODAY),
    Period(since=TODAY - 3 * DAY, until=TODAY - DAY),
    Period(since=datetime(2020, 1, 1, tzinfo=UTC), until=TODAY + 2 * DAY),
]


@pytest.fixture
def run(clinic: Clinic, make_other: Callable[[float], OtherModel]) -> RunId:
    """A rescoring of messages of two days and sources, with every outcome, a sent request and a forgotten message."""
    clinic.send("pass", "a/0.9")
    clinic.send("retake", "b/0.2", "b/0.3")
    clinic.send("unreadable", "c/unreadable")
    clinic.send("overridden", "d/0.1")
    clinic.send("old", "e/0.8", "e/0.1")
    clinic.send("forgotten", "f/0.9")
    clinic.send("portal", "g/0.7", source="portal")
    clinic.execute("UPDATE message SET role = 'proxy' WHERE external_id = 'pass'")
    clinic.drain()
    clinic.execute("UPDATE message SET received_at = received_at - interval '2 days' WHERE external_id = 'old'")
    override(clinic.sessions, "overridden", Outcome.PASS, by="n-1", reason="sharp", policy=clinic.policy)
    model = make_other(0.6)
    with clinic.sessions.begin() as session:
        run, _ = create_run(session, RescoringParameters(model_version_id=model.model_version_id), actor="test")
    while step(Rescoring(clinic.sessions, lambda _: model, photos_per_batch=9, lease=LEASE, policy=clinic.policy)):
        pass
    clinic.send("shadowed", "h/0.9")
    clinic.send("sent", "i/0.2")
    clinic.drain()
    clinic.execute(
        "INSERT INTO verdict (id, attachment_id, model_version_id, origin, score, threshold, acceptable, grade, "
        "cumulative, patch_scores, width, height) SELECT gen_random_uuid(), attachment_id, other.id, 'shadow', "
        "1 - score, threshold, NOT acceptable, grade, cumulative, patch_scores, width, height FROM verdict "
        "JOIN model_version other ON other.id <> model_version_id JOIN attachment a ON a.id = attachment_id "
        "JOIN message m ON m.id = message_id WHERE m.external_id = 'shadowed'"
    )
    clinic.execute("SELECT forget_message(gen_random_uuid(), id, 'op-1', 'r') FROM message WHERE external_id ~ 'forg'")
    clinic.execute("UPDATE message SET fitzpatrick = 'V', locale = 'es' WHERE external_id IN ('retake', 'old')")
    appeal(clinic.sessions, "sent", by="n-1", reason="sharp")
    review(clinic.sessions, "sent", needless=True, by="n-2")
    review(clinic.sessions, "retake", needless=False, by="n-2")
    with clinic.sessions.begin() as session:
        for request in outbox.claim(session, limit=100, lease=LEASE, by="sender"):
            assert request.token
            assert outbox.acknowledge(session, [HeldRequest(request.id, request.token)])
    return run.id


def _reports(clinic: Clinic, run: RunId) -> list[Any]:
    """The flips of the run and reports on several periods and dimensions, without what they say about archiving."""
    reports = [report(clinic.sessions, period, list(Dimension)) for period in PERIODS]
    reports += [report(clinic.sessions, Period(), [dimension]) for dimension in Dimension]
    for each in reports:
        for key in ("archived", *LACKING, "backlog"):  # the backlog is that of now
            del each[key]
        for scores in each["scores"]:
            scores["mean"] = pytest.approx(scores["mean"])  # the order of a sum changes its last digit
        for shadow in each["shadows"]:
            shadow["mean_score_difference"] = pytest.approx(shadow["mean_score_difference"])
    return [flips_of(clinic.sessions, run), *reports]


def _archive(clinic: Clinic, folder: Path, before: datetime | None = None) -> None:
    list(archive_threads(clinic.sessions, folder, before=before or datetime.now(UTC), actor="op-1"))


def _count(clinic: Clinic, table: str) -> int:
    return int(clinic.query(f"SELECT count(*) FROM {table}")[0][0])


def test_reports_are_the_same_when_threads_were_archived(clinic: Clinic, run: RunId, tmp_path: Path) -> None:
    before = _reports(clinic, run)
    assert before[0]
    assert all(before[1][name] for name in ("errors", "overrides", "scores", "shadows", "groups", "reasons_by_source"))
    assert {row["value"]: row["needless"] for row in before[1]["needless"]["by"]["fitzpatrick"]} == {None: 1, "V": 0}

    _archive(clinic, tmp_path, TODAY - DAY)
    assert _count(clinic, "message") == 8
    assert _reports(clinic, run) == before
    _archive(clinic, tmp_path)
    assert _count(clinic, "message") == 0
    assert _reports(clinic, run) == before


def test_reports_count_a_message_as_forgotten_when_it_is_forgotten_in_the_archive(
    clinic: Clinic, run: RunId, tmp_path: Path
) -> None:
    _archive(clinic, tmp_path)
    before = _reports(clinic, run)

    forget_archived(clinic.sessions, tmp_path, "pass", by="op-1", reason="request-17")

    after = _reports(clinic, run)
    counts = [(each.pop("retention"), now.pop("retention")) for each, now in zip(before[1:], after[1:], strict=True)]
    assert after == before
    added = [now["messages_forgotten"] - then["messages_forgotten"] for then, now in counts]
    assert added[: len(PERIODS)] == [1, 1, 0, 0, 1]


def test_report_says_how_many_messages_are_archived_and_which_days_it_leaves_out(
    clinic: Clinic, run: RunId, tmp_path: Path
) -> None:
    nothing = report(clinic.sessions, Period())
    assert nothing["archived"] == {"messages": 0, "days_left_out": [], "lacks": []}
    assert "archived" not in to_table(nothing)
    _archive(clinic, tmp_path)

    whole = report(clinic.sessions, Period(until=TODAY))
    parts = report(clinic.sessions, Period(since=TODAY - 2 * DAY + timedelta(hours=1)))

    old = (TODAY - 2 * DAY).date().isoformat()
    assert whole["archived"] == {"messages": 1, "days_left_out": [], "lacks": [*LACKING]}
    assert parts["archived"] == {"messages": 8, "days_left_out": [old], "lacks": [*LACKING]}
    assert (whole["messages"]["total"], parts["messages"]["total"]) == (1, 8)
    for text in (to_table(parts), render_html(parts)):
        assert f"not counted: archived messages of {old}" in text
    assert "archived messages, counted: 1" in to_table(whole)


def test_photos_count_as_purged_when_their_rows_are_deleted(clinic: Clinic, tmp_path: Path) -> None:
    clinic.execute(
        "INSERT INTO blob (sha256, size_bytes, purge_after, purged_at) SELECT md5(n::text), 5, now(), "
        "now() - interval '3 days' FROM generate_series(1, 3) n"
    )
    before = report(clinic.sessions, Period(until=TODAY))["retention"]

    Retention(clinic.sessions, BlobStore(str(tmp_path)), keep=None).purge(actor="op-1")

    assert _count(clinic, "blob") == 0
    assert before["photos_purged"] == 3
    assert report(clinic.sessions, Period(until=TODAY))["retention"] == before


def test_archived_counts_cannot_be_changed(clinic: Clinic, run: RunId, tmp_path: Path) -> None:
    _archive(clinic, tmp_path)

    for statement in ("UPDATE archived_count SET n = 0", "DELETE FROM archived_count", "TRUNCATE archived_count"):
        with pytest.raises(DBAPIError, match="append-only"):
            clinic.execute(statement)
