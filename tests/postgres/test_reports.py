import csv
import io
import json
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from tests.support.clinic import Clinic
from triage.domain.messages import IncomingAttachment, IncomingMessage
from triage.domain.reporting import Dimension, Period
from triage.domain.states import Outcome
from triage.reports.csv_table import render_csv
from triage.reports.html import render_html
from triage.reports.summary import report, summarise
from triage.retakes.override import override
from triage.statistics.proportions import wilson_interval
from triage.storage.database import Sessions
from worker.cli.report import to_table


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
    assert report["reasons"] == {"no_clear_reason": 2}
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


def test_reasons_are_the_likeliest_of_each_photo_that_fails(busy: Clinic) -> None:
    busy.execute("ALTER TABLE verdict DISABLE TRIGGER USER")
    busy.execute("""UPDATE verdict SET findings = '[{"kind": "too_dark"}, {"kind": "motion"}]'""")  # passing ones too
    with busy.sessions() as session:
        summary = summarise(session, Period())

    assert summary["reasons"] == {"too_dark": 2}
    assert "photos that fail, by their likeliest reason: too dark 2" in to_table(summary)
    assert '<th scope="row">too dark</th><td>2</td>' in render_html(summary)


def test_tables_name_what_they_count_and_explain_messages_without_a_model(busy: Clinic) -> None:
    with busy.sessions() as session:
        by_model = summarise(session, Period(), [Dimension.MODEL])
        by_source = summarise(session, Period(), [Dimension.SOURCE])

    explanation = "no model: messages that are pending, that a person decided, or that have no photo"
    lines = to_table(by_model).splitlines()
    assert [line for line in lines if line.startswith(("messages", "photos"))][0:5] == [
        "messages received at any time",
        next(line for line in lines if line.startswith("messages  ")),
        "messages by model",
        "photos scored in this period, by model",
        "photos not assessable: corrupt 1",
    ]
    assert any(line.startswith("no model  ") for line in lines)
    assert any(line.startswith(explanation) for line in lines)
    assert explanation in render_html(by_model)
    assert explanation not in to_table(by_source) + render_html(by_source)


def test_report_by_day_and_source_has_a_row_for_each_pair(busy: Clinic) -> None:
    with busy.sessions() as session:
        groups = summarise(session, Period(), [Dimension.DAY, Dimension.SOURCE])["groups"]

    assert [(group["source"], group["total"], group["retake"]) for group in groups] == [
        ("ehr", 1, 1),
        ("ehr", 3, 0),
        ("portal", 1, 0),
    ]
    assert groups[0]["day"] < groups[1]["day"] == groups[2]["day"]


def test_groups_say_the_same_as_json_csv_and_table(busy: Clinic) -> None:
    with busy.sessions() as session:
        summary = summarise(session, Period(), [Dimension.SOURCE])

    groups = json.loads(json.dumps(summary))["groups"]
    intervals = [group.pop("interval") for group in groups]
    assert groups == [
        _counts(source="ehr", total=4, retake=1, not_assessable=1, pending=1, retake_rate=1 / 3) | {"pass": 1},
        _counts(source="portal", total=1, retake_rate=0.0) | {"pass": 1},
    ]
    assert intervals == [pytest.approx(wilson_interval(1, 3)), pytest.approx(wilson_interval(0, 1))]
    rows = list(csv.DictReader(io.StringIO(render_csv(summary))))
    assert rows == [{key: str(value) for key, value in group.items()} for group in groups]
    lines = [line.split() for line in to_table(summary).splitlines()]
    for group in groups:
        rate = f"{100 * group['retake_rate']:.1f}"
        assert [*(str(value) for key, value in group.items() if key != "retake_rate"), rate, "%"] in lines


def _counts(**some: object) -> dict[str, object]:
    """A group of a report: those counts that are given, 0 for the others."""
    return dict.fromkeys(("retake", "uncertain", "not_assessable", "pending"), 0) | some


def test_report_says_the_same_when_its_queries_run_at_the_same_time(busy: Clinic) -> None:
    day, year = Period(datetime.now(UTC) - timedelta(days=1)), Period(datetime.now(UTC) - timedelta(days=365))
    with busy.sessions() as session:
        expected, compared = (summarise(session, period, [Dimension.SOURCE]) for period in (day, year))

    found = report(busy.sessions, day, [Dimension.SOURCE], compared_to=year)

    passing = {"oldest_pending_seconds", "backlog", "retake_outcomes"}  # they depend on the time
    other = found.pop("compared_to")
    assert found.keys() == expected.keys()
    for a, b in ((found, expected), (other, compared)):
        assert {k: v for k, v in a.items() if k not in passing} == {k: v for k, v in b.items() if k not in passing}


def test_oldest_pending_message_is_found_whatever_the_period(busy: Clinic) -> None:
    with busy.sessions.begin() as session:
        session.execute(text("UPDATE message SET received_at = now() - interval '10 h' WHERE external_id = 'pending'"))
        session.execute(text("UPDATE message SET received_at = now() - interval '2 d' WHERE external_id = 'pass-1'"))
        waited = summarise(session, Period(since=datetime.now(UTC)))["oldest_pending_seconds"]

    assert 36_000 <= waited < 40_000
    busy.drain()
    with busy.sessions() as session:
        assert summarise(session, Period())["oldest_pending_seconds"] is None


def test_override_counts_as_a_decision_of_no_model(busy: Clinic) -> None:
    override(busy.sessions, "retake", Outcome.PASS, by="nurse-1", reason="sharp enough", policy=busy.policy)
    with busy.sessions() as session:
        report = summarise(session, Period(), [Dimension.MODEL])

    assert (report["overrides"], report["messages"]["pass"], report["messages"]["retake"]) == (1, 3, 0)
    assert report["messages"]["retake_rate"] == 0
    assert report["retake_requests"] == {"flagged": 0, "claimed": 0, "sent": 0, "withdrawn": 1}
    assert {group["model"]: group["total"] for group in report["groups"]} == {"fixture": 2, None: 3}


def test_report_marks_a_model_that_was_never_trained(busy: Clinic) -> None:
    with busy.sessions.begin() as session:
        session.execute(text("UPDATE model_version SET card = jsonb_set(card, '{trained}', 'false')"))
        report = summarise(session, Period(), [Dimension.MODEL])

    assert {group["model"] for group in report["groups"]} == {"untrained", None}
    assert [scores["model"] for scores in report["scores"]] == ["untrained"]
    assert any(line.startswith("untrained ") for line in to_table(report).splitlines())
    assert "never trained" in render_html(report)


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


def test_html_escapes_names_and_contains_no_patient_data(busy: Clinic) -> None:
    with busy.sessions.begin() as session:
        session.execute(text("UPDATE message SET source = '<script>alert(1)</script>', role = '\"><b>bold'"))
        session.execute(text("UPDATE message SET external_id = external_id || '-Mustermann'"))
        session.execute(
            text("UPDATE attachment SET external_id = external_id || '-Mustermann', photo_group = 'Mustermann'")
        )
        page = render_html(summarise(session, Period(), list(Dimension)))

    assert "<script" not in page
    assert "<b>bold" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "Mustermann" not in page


def test_dimension_groups_once_when_it_is_named_twice(sessions: Sessions) -> None:
    assert report(sessions, Period(), [Dimension.DAY, Dimension.DAY])["by"] == ["day"]
