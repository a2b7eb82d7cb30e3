from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from tests.integration.conftest import Clinic
from triage.domain import IncomingAttachment, IncomingMessage
from triage.reports.html import render_html
from triage.reports.summary import Dimension, Period, summarise


@pytest.fixture
def busy(clinic: Clinic) -> Clinic:
    """Five messages of two sources: two pass, one retake, one for staff, one pending."""
    clinic.send("pass-1", "a/0.9")
    clinic.send("pass-2", "b/0.1", "c/0.8")
    clinic.send("retake", "d/0.25")
    clinic.send("unreadable", "e/unreadable")
    with clinic.sessions.begin() as session:
        session.execute(text("UPDATE message SET source = 'portal' WHERE external_id = 'pass-2'"))
        session.execute(
            text("UPDATE message SET received_at = received_at - interval '3 days' WHERE external_id = 'retake'")
        )
    clinic.drain()
    clinic.intake.enqueue(
        [IncomingMessage("ehr", "pending", [IncomingAttachment(uri="file:///in/f/0.9")], role="proxy")]
    )
    return clinic


def test_report_counts_messages_photos_and_scores(busy: Clinic) -> None:
    with busy.sessions() as session:
        report = summarise(session, Period())

    messages = report["messages"]
    assert {name: messages[name] for name in ("total", "pass", "retake", "uncertain", "not_assessable", "pending")} == {
        "total": 5,
        "pass": 2,
        "retake": 1,
        "uncertain": 0,
        "not_assessable": 1,
        "pending": 1,
    }
    assert messages["retake_rate"] == 1 / 4
    assert report["photos"] == {"total": 6, "pending": 1, "in_progress": 0, "scored": 4, "not_assessable": 1}
    assert report["errors"] == {"corrupt": 1}
    assert report["retake_requests"] == {"flagged": 1, "claimed": 0, "sent": 0, "withdrawn": 0}
    assert 0 <= report["oldest_pending_seconds"] < 3600
    [scores] = report["scores"]
    assert (scores["model"], scores["n"], scores["acceptable"]) == ("fixture", 4, 2)
    assert scores["mean"] == pytest.approx((0.9 + 0.1 + 0.8 + 0.25) / 4)
    assert sum(scores["histogram"]) == 4


@pytest.mark.parametrize(
    ("dimension", "totals"),
    [
        (Dimension.SOURCE, {"ehr": 4, "portal": 1}),
        (Dimension.ROLE, {"patient": 4, "proxy": 1}),
        (Dimension.MODEL, {"fixture": 3, None: 2}),
    ],
)
def test_report_is_split_by_a_dimension(busy: Clinic, dimension: Dimension, totals: dict[str | None, int]) -> None:
    with busy.sessions() as session:
        groups = summarise(session, Period(), [dimension])["groups"]

    assert {group[dimension.value]: group["total"] for group in groups} == totals


def test_report_by_day_and_source_has_a_row_for_each_pair(busy: Clinic) -> None:
    with busy.sessions() as session:
        groups = summarise(session, Period(), [Dimension.DAY, Dimension.SOURCE])["groups"]

    assert [(group["source"], group["total"], group["retake"]) for group in groups] == [
        ("ehr", 1, 1),
        ("ehr", 3, 0),
        ("portal", 1, 0),
    ]
    assert groups[0]["day"] < groups[1]["day"] == groups[2]["day"]


def test_report_holds_only_its_period(busy: Clinic) -> None:
    yesterday = datetime.now(UTC) - timedelta(days=1)
    with busy.sessions() as session:
        recent = summarise(session, Period(since=yesterday))
        earlier = summarise(session, Period(until=yesterday))

    assert (recent["messages"]["total"], recent["messages"]["retake"]) == (4, 0)
    assert (earlier["messages"]["total"], earlier["messages"]["retake"]) == (1, 1)


def test_empty_report_divides_by_nothing(clinic: Clinic) -> None:
    with clinic.sessions() as session:
        report = summarise(session, Period(), list(Dimension))

    assert report["messages"]["total"] == 0
    assert report["messages"]["retake_rate"] is None
    assert report["groups"] == []
    assert "<html" in render_html(report)


def test_html_escapes_what_others_named(busy: Clinic) -> None:
    with busy.sessions.begin() as session:
        session.execute(text("UPDATE message SET source = '<script>alert(1)</script>'"))
        page = render_html(summarise(session, Period(), [Dimension.SOURCE]))

    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page
