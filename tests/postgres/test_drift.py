"""Drift in a clinic with three sources over seven weeks."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

import numpy as np
import pytest
from prometheus_client import generate_latest
from prometheus_client.registry import CollectorRegistry
from sqlalchemy import text

from tests.support.command_line import Result
from tests.support.deployment import eventually
from tests.support.written import WrittenMessage, write_messages
from triage.domain.card import RegisteredModel
from triage.domain.reporting import period_of_report
from triage.reports.drift import find_drift
from triage.reports.html import render_html
from triage.reports.summary import report
from triage.storage.database import Sessions
from worker.doctor.models import check_drift
from worker.doctor.problems import ProblemError
from worker.documents.drift import DriftDocument
from worker.exporter import Exporter
from worker.tasks.base import WorkerServices

Triage: TypeAlias = Callable[..., Result]

SOURCES = ("app", "kiosk", "portal")
WEEK = timedelta(days=7)


@pytest.fixture
def promoted(sessions: Sessions, live_model: RegisteredModel) -> datetime:
    """When the live model was promoted: six weeks ago."""
    at = datetime.now(UTC) - 6 * WEEK
    with sessions.begin() as session:
        session.execute(
            text("UPDATE model_version SET promoted_at = :at WHERE id = :id"), {"at": at, "id": live_model.id}
        )
    return at


def _messages(promoted: datetime, darker: str | None = None) -> Iterator[WrittenMessage]:
    """25 messages of three photos from each source on every second day; the last week of one source is darker."""
    random = np.random.default_rng(1)
    for day in range(0, 42, 2):
        for number in range(75):
            source = SOURCES[number % 3]
            is_darker = source == darker and day >= 35 and random.random() < 0.6
            good = random.beta(4, 2)
            scores = [max(0.0, float(good - 0.05 * k - 0.4 * is_darker)) for k in range(3)]
            yield WrittenMessage(
                source,
                promoted + timedelta(days=day, minutes=number + 1),
                scores if random.random() > 0.02 else [None],
                finding="too_dark" if is_darker else None,
            )


def _write(sessions: Sessions, model: RegisteredModel, messages: Iterator[WrittenMessage]) -> None:
    with sessions.begin() as session:
        write_messages(session, messages, model=model.id)


def _drifted(found: dict[str, Any]) -> dict[str, bool | None]:
    return {source["source"]: source["drifted"] for source in found["sources"]}


def test_darker_photos_of_one_source_raise_the_alarm_everywhere(
    sessions: Sessions,
    services: WorkerServices,
    live_model: RegisteredModel,
    promoted: datetime,
    triage: Triage,
) -> None:
    _write(sessions, live_model, _messages(promoted, darker="kiosk"))

    found = find_drift(sessions)

    assert (found["status"], _drifted(found)) == ("drift", {"app": False, "kiosk": True, "portal": False})
    kiosk = found["sources"][1]
    assert {"score", "findings"} <= {each["feature"] for each in kiosk["features"] if each["drifted"]}
    assert (kiosk["n_reference"], len(kiosk["review"])) == (14 * 25, 20)  # one photo of each thread
    document = triage("drift", "--json").json
    assert DriftDocument.model_validate(document) == DriftDocument.model_validate(found)
    shown = triage("drift").out
    assert ("DRIFT" in shown, f"triage explain {kiosk['review'][0]}" in shown) == (True, True)
    assert triage("explain", kiosk["review"][0]).code == 0
    summary = report(sessions, period_of_report(None, None))
    assert summary["drift"] == found
    assert "drift: photos of kiosk are no longer like those" in triage("report").out
    assert "DRIFT" in triage("report", "--show", "drift").out
    assert triage("report", "--format", "json").json["drift"] == document
    page = render_html(summary)
    assert ("Photos of kiosk are no longer" in page, "Look at the messages" in page) == (True, True)
    with pytest.raises(ProblemError, match="photos of kiosk are no longer"):
        check_drift(sessions)
    registry = CollectorRegistry()
    registry.register(Exporter(services, stall=timedelta(minutes=1)))
    served = eventually(lambda: lines if "triage_drift{" in (lines := generate_latest(registry).decode()) else "")
    assert 'triage_drift{source="kiosk"} 1.0' in served
    assert 'triage_drift{source="app"} 0.0' in served


def test_stable_photos_raise_no_alarm(
    sessions: Sessions, live_model: RegisteredModel, promoted: datetime, triage: Triage
) -> None:
    _write(sessions, live_model, _messages(promoted))

    found = find_drift(sessions)

    assert (found["status"], set(_drifted(found).values())) == ("stable", {False})
    assert [source["review"] for source in found["sources"]] == [[], [], []]
    assert check_drift(sessions) == "none"
    assert "DRIFT" not in triage("drift").out.rpartition("without any change")[0]


def test_drift_is_of_the_last_complete_week_when_a_time_is_given(
    sessions: Sessions, live_model: RegisteredModel, promoted: datetime
) -> None:
    _write(sessions, live_model, _messages(promoted, darker="kiosk"))

    earlier = find_drift(sessions, promoted + 5.5 * WEEK)

    assert (earlier["status"], earlier["current"]["until"]) == ("stable", (promoted + 5 * WEEK).isoformat())


def test_drift_is_unknown_when_nothing_can_be_compared(
    sessions: Sessions, live_model: RegisteredModel, promoted: datetime, triage: Triage
) -> None:
    few = find_drift(sessions)
    early = find_drift(sessions, promoted + 4.9 * WEEK)

    assert [(each["status"], each["reason"]) for each in (few, early)] == [
        ("unknown", "too_few"),
        ("unknown", "too_early"),
    ]
    assert f"unknown until {promoted + 5 * WEEK:%Y-%m-%d}" in triage("drift", "--at", f"{promoted:%Y-%m-%d}").out
    assert early["judged_from"] == (promoted + 5 * WEEK).isoformat()
    with sessions.begin() as session:
        session.execute(text("UPDATE model_version SET stage = 'retired'"))
    assert find_drift(sessions)["reason"] == "no_live_model"
    assert "no model is live" in triage("drift").out
