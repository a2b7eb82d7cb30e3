"""The report, drift and the simulator in the console, from the functions of the command line."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from httpx2 import Response
from sqlalchemy import text

from tests.support.clinic import Clinic
from tests.support.console import Browser
from tests.support.deployment import eventually
from triage.domain.staff import Role
from triage.reports.models import find_model
from triage.reports.tables import NAMES
from triage.retakes.proposals import list_proposals
from worker.tasks.base import WorkerServices

EVIL = "<script>alert(1)</script>{{7*7}}"


def send_of_yesterday(clinic: Clinic) -> None:
    """Two messages that pass and two requests, of which one is close to the threshold."""
    for name, score in (("m-1", 0.9), ("m-2", 0.8), ("m-3", 0.45), ("m-4", 0.1)):
        clinic.send(name, f"{name}/{score}")
    clinic.drain()
    clinic.execute("UPDATE message SET received_at = received_at - interval '1 day'")


def test_report_shows_figures_and_tables_of_the_days_of_the_clinic(
    clinic: Clinic, logged_in: Callable[..., Browser]
) -> None:
    send_of_yesterday(clinic)
    [row] = clinic.query("SELECT min(received_at) AS at FROM message")
    browser = logged_in(Role.MANAGER)

    page = browser.get("/reports").text
    assert "<dt>retake rate</dt><dd>50.0 %" in page
    assert page.count("<details") == len(NAMES)
    day = f"{row.at:%Y-%m-%d}"
    assert "<dt>messages</dt><dd>4</dd>" in browser.get(f"/reports?since={day}&until={day}").text
    before = f"{row.at - timedelta(days=1):%Y-%m-%d}"
    assert "<dt>messages</dt><dd>0</dd>" in browser.get(f"/reports?since={before}&until={before}").text
    assert "other period" in browser.get(f"/reports?since={day}&compare=1").text
    assert "proporción de repeticiones" in browser.get("/reports", **{"Accept-Language": "es"}).text


LONG: dict[str, tuple[str, Callable[[Browser], Response]]] = {
    "report": ("archived_count", lambda browser: browser.get("/reports")),
    "simulation": ("verdict", lambda browser: browser.get("/simulator?threshold=0.5&unmoved=0.5&exact=0.4")),
    "proposal": ("verdict", lambda browser: browser.post("/proposals?exact=0.4", name="fewer")),
}
"""Long pages, each with a table that it reads and the queue does not."""


@pytest.mark.parametrize(("table", "ask"), LONG.values(), ids=LONG)
def test_long_page_asks_the_database_one_question_at_a_time_while_the_queue_answers(
    clinic: Clinic, logged_in: Callable[..., Browser], table: str, ask: Callable[[Browser], Response]
) -> None:
    manager, reviewer = logged_in(Role.MANAGER), logged_in(Role.REVIEWER, "dr-8")

    def waiting() -> int:
        [row] = clinic.query(
            "SELECT count(*) AS n FROM pg_locks JOIN pg_database ON pg_database.oid = database "
            "WHERE datname = current_database() AND NOT granted"
        )
        return int(row.n)

    with ThreadPoolExecutor(1) as pool:
        with clinic.sessions.begin() as session:
            session.execute(text(f"LOCK TABLE {table}"))
            page = pool.submit(ask, manager)
            assert eventually(waiting) == 1
            assert reviewer.get("/").status_code == 200
            assert waiting() == 1
        assert page.result().status_code < 400


OTHER_LONG: dict[str, tuple[str, Callable[[Browser], Response]]] = {
    "drift": ("model_version", lambda browser: browser.get("/drift")),
    "models": ("verdict", lambda browser: browser.get("/models")),
    "promotion": ("verdict", lambda browser: browser.get("/models/fixture/promote")),
    "reviews": ("photo_review", lambda browser: browser.get("/reviews")),
}


@pytest.mark.parametrize(("table", "ask"), [*LONG.values(), *OTHER_LONG.values()], ids=[*LONG, *OTHER_LONG])
def test_long_page_says_so_when_a_statement_takes_too_long(
    clinic: Clinic,
    services: WorkerServices,
    logged_in: Callable[..., Browser],
    table: str,
    ask: Callable[[Browser], Response],
) -> None:
    api = services.settings.api.model_copy(update={"statement_seconds": 0.05})
    services.settings = services.settings.model_copy(update={"api": api})
    manager = logged_in(Role.MANAGER)
    manager.client.headers["Accept-Language"] = "es"
    with clinic.sessions.begin() as session:
        session.execute(text(f"LOCK TABLE {table}"))
        answer = ask(manager)
    assert (answer.status_code, "La base de datos tarda demasiado" in answer.text) == (503, True)


@pytest.mark.parametrize("query", ["since=x", "since=2026-02-01&until=2026-01-01", f"until={EVIL}", "until=9999-12-31"])
@pytest.mark.parametrize("path", ["/reports", "/simulator"])
def test_period_is_refused_when_it_is_malformed(logged_in: Callable[..., Browser], path: str, query: str) -> None:
    answer = logged_in(Role.MANAGER).get(f"{path}?{query}")
    assert answer.status_code == 400
    assert "<script" not in answer.text


def test_drift_is_unknown_when_the_model_is_new(clinic: Clinic, logged_in: Callable[..., Browser]) -> None:
    assert "is not complete" in logged_in(Role.MANAGER).get("/drift").text


def test_scenario_is_simulated_saved_and_applied(clinic: Clinic, logged_in: Callable[..., Browser]) -> None:
    send_of_yesterday(clinic)
    browser = logged_in(Role.MANAGER)
    assert 'type="range"' in browser.get("/simulator").text
    assert "Nothing is changed." in browser.get("/simulator?threshold=0.50&unmoved=0.50").text

    query = "threshold=0.50&unmoved=0.50&exact=0.4"
    assert "Requests per day: -0.0 (from 0.1 to 0.0)" in browser.get(f"/simulator?{query}").text
    saved = browser.post(f"/proposals?{query}", name="fewer")
    assert saved.headers["location"] == "/console/proposals/fewer"
    page = browser.get("/proposals/fewer").text
    assert "0.5 to 0.4" in page
    assert browser.post("/proposals/fewer/apply").status_code == 303

    [proposal] = list_proposals(clinic.sessions)
    assert (proposal.saved_by, proposal.applied_by) == ("staff:dr-7", "staff:dr-7")
    assert find_model(clinic.sessions, "fixture").card.threshold == 0.4


def test_slider_changes_the_threshold_when_it_was_moved(clinic: Clinic, logged_in: Callable[..., Browser]) -> None:
    send_of_yesterday(clinic)
    page = logged_in(Role.MANAGER).get("/simulator?threshold=0.4&unmoved=0.50&requests=3").text
    assert "Threshold: 0.4; Requests in a thread: 3" in page


def test_proposal_names_the_settings_that_it_cannot_change(clinic: Clinic, logged_in: Callable[..., Browser]) -> None:
    browser = logged_in(Role.MANAGER)
    browser.get("/simulator")
    browser.post("/proposals?threshold=0.5&unmoved=0.5&margin=0.2", name="margin")
    assert "TRIAGE_RETAKES__UNCERTAIN_MARGIN=0.2" in browser.get("/proposals/margin").text


@pytest.mark.parametrize("query", ["exact=x", "exact=2", "exact=nan", "margin=-1", "requests=1.5", "cooldown=inf"])
def test_scenario_is_refused_when_a_number_is_wrong(logged_in: Callable[..., Browser], query: str) -> None:
    answer = logged_in(Role.MANAGER).get(f"/simulator?threshold=0.5&unmoved=0.5&{query}")
    assert answer.status_code == 400


def test_proposal_is_refused_when_its_name_is_malformed_or_it_changes_nothing(
    clinic: Clinic, logged_in: Callable[..., Browser]
) -> None:
    browser = logged_in(Role.MANAGER)
    browser.get("/simulator")
    assert browser.post("/proposals?exact=0.4", name=EVIL).status_code == 400
    assert browser.post("/proposals?", name="same").status_code == 400
    assert browser.get("/proposals/none").status_code == 404
    assert list_proposals(clinic.sessions) == []
