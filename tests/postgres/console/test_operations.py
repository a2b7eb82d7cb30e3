"""Deliveries, arrivals and runs in the console."""

import json
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from tests.support.clinic import Clinic
from tests.support.command_line import Result
from tests.support.console import Browser
from triage.arrivals.announce import announce
from triage.deliveries import manage
from triage.domain.staff import Role
from triage.runs import cancel_run
from triage.scoring.start import start_rescoring
from triage.storage.gauges import read_gauges

HUGE = 10**400
"""As JSON, a number that no float can hold."""

EVIL = "<script>alert(1)</script>{{7*7}}"


@pytest.fixture
def busy(clinic: Clinic) -> Clinic:
    """Two dead events and one that waits; a dead message and one that waits on another system."""
    manage.register(clinic.sessions, "webhook")
    for name in ("m-1", "m-2", EVIL):
        clinic.send(name, f"{name}/0.9")
    clinic.drain()
    announce(clinic.sessions, "ehr", {"Communication/1": None, "Communication/2": None})
    clinic.execute(
        "UPDATE delivery SET status = 'dead', error = 'refused', answer = 500, "
        "finished_at = clock_timestamp() WHERE id IN (SELECT id FROM delivery ORDER BY id LIMIT 2)"
    )
    clinic.execute(
        "UPDATE arrival SET status = 'dead', error = 'malformed', finished_at = clock_timestamp() "
        "WHERE reference = 'Communication/1'"
    )
    return clinic


def states(clinic: Clinic, table: str) -> list[str]:
    return [row.status for row in clinic.query(f"SELECT status FROM {table} ORDER BY id")]


def test_dead_events_come_first_and_are_retried(busy: Clinic, logged_in: Callable[..., Browser]) -> None:
    browser = logged_in(Role.MANAGER)
    page = browser.get("/deliveries").text
    assert page.index("refused (500)") < page.index("&lt;script&gt;")
    assert "<script" not in page

    first = re.findall(r'name="id" value="([0-9a-f-]{36})"', page)[0]
    assert browser.post("/deliveries/retry", id=first).status_code == 303
    assert sorted(states(busy, "delivery")) == ["dead", "pending", "pending"]
    answers = [browser.post("/deliveries/retry", id="dead").headers["location"] for _ in range(2)]
    shown = [browser.get(answer.removeprefix("/console")).text for answer in answers]
    assert ["Made due again: 1." in page for page in shown] == [True, False]
    assert ["No delivery was dead" in page for page in shown] == [False, True]

    assert set(states(busy, "delivery")) == {"pending"}
    actions = busy.query("SELECT action FROM audit_event WHERE actor = 'staff:dr-7' AND action LIKE 'deliver%'")
    assert [row.action for row in actions] == ["delivery.retried", "deliveries.retried"]
    assert browser.post("/deliveries/retry", id="x").status_code == 400
    assert browser.get(f"/deliveries?retried={'9' * 5000}").status_code == 200  # more digits than Python reads


def test_dead_messages_of_other_systems_are_retried(busy: Clinic, logged_in: Callable[..., Browser]) -> None:
    browser = logged_in(Role.MANAGER)
    page = browser.get("/deliveries?status=dead").text
    assert "Communication/1" in page
    assert "Communication/2" not in page

    assert browser.post("/arrivals/retry", id="dead").status_code == 303

    assert states(busy, "arrival") == ["pending", "pending"]
    assert browser.get(f"/deliveries?status={EVIL}").status_code == 400


def test_runs_load_again_by_themselves_while_one_is_open_and_no_longer(
    clinic: Clinic, logged_in: Callable[..., Browser]
) -> None:
    browser = logged_in(Role.MANAGER)
    assert "Refresh" not in browser.get("/runs").headers
    clinic.send("m-1", "a/0.9")
    clinic.drain()
    run = start_rescoring(clinic.sessions, actor="test")
    clinic.execute(
        'UPDATE run SET progress = \'{"total": 8, "scored": 2, "failed": 1, "good_to_bad": 0, "bad_to_good": 0}\''
    )

    page = browser.get("/runs")
    assert page.headers["Refresh"] == "5; url=/console/runs?left=59"
    assert "25 %" in page.text
    assert "2 of 8 photos, 1 failed" in page.text
    for left in ("0", "-1", "x", "¹"):
        assert "Refresh" not in browser.get(f"/runs?left={left}").headers
    assert browser.get("/runs?left=9999").headers["Refresh"].endswith("left=59")

    cancel_run(clinic.sessions, run.id, by="test")
    page = browser.get("/runs")
    assert "Refresh" not in page.headers
    assert "cancelled" in page.text


def test_training_run_shows_its_last_epoch(clinic: Clinic, logged_in: Callable[..., Browser]) -> None:
    clinic.execute(
        "INSERT INTO run (id, kind, status, parameters, progress) VALUES (gen_random_uuid(), 'training', 'running', "
        '\'{"config": {"epochs": 10}}\', \'{"stage": "training", "epoch": 3, "done": 0.5, "epochs": '
        '[{"number": 2, "train_loss": 0.25, "validation_loss": null, "validation_auc": 0.9}]}\')'
    )

    browser = logged_in(Role.MANAGER)
    page = browser.get("/runs").text

    assert "Epoch 2, loss 0.2500, AUC 0.900" in page
    assert "25 %" in page


def test_failure_of_a_run_is_in_the_language_of_the_page(clinic: Clinic, logged_in: Callable[..., Browser]) -> None:
    known = (
        "begun 3 times without reaching the end: see the training worker's log (a process that died, a card without "
        "memory), then start a new run"
    )
    for error in (known, "a failure of a later release"):
        clinic.execute(
            "INSERT INTO run (id, kind, status, parameters, error, finished_at) "
            f"VALUES (gen_random_uuid(), 'training', 'failed', '{{}}', $${error}$$, now())"
        )
    browser = logged_in(Role.MANAGER)
    links = re.findall(r'href="/console(/runs/[0-9a-f-]{36})"', browser.get("/runs").text)

    pages = [browser.get(path, **{"Accept-Language": "es"}).text for path in ("/runs", *links)]

    for shown in ("Empezó 3 veces sin llegar al final", 'lang="en">A failure of a later release<'):
        assert [shown in page for page in pages].count(True) == 2  # in the list, and on the page of the run


def test_page_of_a_training_shows_its_curve_and_loads_again_while_it_runs(
    clinic: Clinic, logged_in: Callable[..., Browser]
) -> None:
    epochs = [
        {"number": n, "train_loss": loss, "validation_loss": None, "validation_auc": 0.9, "learning_rate": 0.001}
        for n, loss in enumerate((0.75, None, 0.25), start=1)
    ]
    clinic.execute(
        "INSERT INTO run (id, kind, status, parameters, progress) VALUES (gen_random_uuid(), 'training', 'running', "
        f'\'{{"name": "ours", "config": {{"epochs": 10}}}}\', \'{{"epoch": 3, "epochs": {json.dumps(epochs)}}}\')'
    )
    browser = logged_in(Role.MANAGER)
    [link] = re.findall(r'href="/console(/runs/[0-9a-f-]{36})"', browser.get("/runs").text)

    page = browser.get(link)

    assert page.headers["Refresh"] == f"5; url=/console{link}?left=59"
    assert page.text.count("<svg") == 2
    assert page.text.count('role="img" aria-labelledby="loss-title loss-description"') == 1
    assert [re.sub(r"<.*?>", "", cell) for cell in re.findall(r"<td>.*?</td>", page.text)[:4]] == [
        "0.2500",
        "-",
        "0.900",
        "0.001",
    ]
    assert "Refresh" not in browser.get(f"{link}?left=0").headers
    clinic.execute("UPDATE run SET status = 'done', finished_at = now()")
    assert "Refresh" not in browser.get(link).headers
    assert browser.get("/runs/00000000-0000-7000-8000-000000000000").status_code == 400


def test_waiting_training_says_why(clinic: Clinic, logged_in: Callable[..., Browser]) -> None:
    clinic.execute(
        "INSERT INTO run (id, kind, status, parameters) "
        "VALUES (gen_random_uuid(), 'training', 'pending', '{\"config\": {\"epochs\": 10}}')"
    )
    browser = logged_in(Role.MANAGER)
    page = browser.get("/runs").text
    [link] = re.findall(r'href="/console(/runs/[0-9a-f-]{36})"', page)

    assert "Waits: no training worker runs, or it is paused." in page
    assert "Waits: no training worker runs, or it is paused." in browser.get(link).text


def test_page_of_a_rescoring_shows_its_progress(clinic: Clinic, logged_in: Callable[..., Browser]) -> None:
    clinic.send("m-1", "a/0.9")
    clinic.drain()
    run = start_rescoring(clinic.sessions, actor="test")
    browser = logged_in(Role.MANAGER)

    assert "waiting" in browser.get(f"/runs/{run.id}").text
    clinic.execute(
        'UPDATE run SET progress = \'{"total": 8, "scored": 2, "failed": 1, "good_to_bad": 0, "bad_to_good": 0}\''
    )
    assert "2 of 8 photos, 1 failed" in browser.get(f"/runs/{run.id}").text


@pytest.mark.parametrize("kind", ["training", "rescoring"])
@pytest.mark.parametrize(
    ("parameters", "progress"),
    [
        ("{}", "{}"),
        ("[1]", "[1]"),
        ("{}", '{"stage": {}, "epoch": 1, "done": 0.5, "epochs": []}'),
        ("{}", '{"stage": "training", "epoch": 1, "epochs": [], "model": 7}'),
        ("{}", '{"stage": "evaluating", "epoch": 1, "epochs": [], "model": "clinic-1"}'),
        ('{"config": 7, "name": 7}', '{"epochs": 7, "scored": 1}'),
        ('{"config": {"epochs": 0}}', '{"epoch": "x", "done": {}, "epochs": [{"number": 1}], "total": null}'),
        (
            '{"config": {"epochs": "x"}}',
            (
                '{"epoch": -1, "seconds_left": "x", "epochs": [{"number": 1, "train_loss": "x", "validation_loss": '
                '1e999, "validation_auc": null}], "total": 0, "scored": "x", "failed": [], "good_to_bad": 0, '
                '"bad_to_good": 0}'
            ),
        ),
        (
            f'{{"config": {{"epochs": {HUGE}}}}}',
            (
                '{"epoch": 1, "done": 0.5, "epochs": [], "total": 1, "scored": 0.5, "failed": 0, "good_to_bad": 0, '
                '"bad_to_good": 0, "seconds_left": 1e15}'
            ),
        ),
        (
            f'{{"config": {{"epochs": 1, "seed": {HUGE}}}, "name": {{}}, "model_version_id": {HUGE}, "limit": {HUGE}}}',
            (
                f'{{"epoch": {HUGE}, "photos_per_second": {HUGE}, "epochs": [{{"number": {HUGE}}}], "total": {HUGE}, '
                f'"scored": {HUGE}}}'
            ),
        ),
        (
            '{"config": {"epochs": 1}, "name": [], "since": [], "photos_of_messages": {}, "manifest": 7, "init": {}}',
            (
                '{"epoch": 1.5, "done": 1e12, "photos": 0.5, "of_photos": 1e12, "photos_per_second": 1e-300, "epochs": '
                '[{"number": 1.5, "train_loss": 1e12, "validation_loss": null, "validation_auc": -1e12, "is_best": {}, '
                '"learning_rate": 0, "seconds": 1e12}], "seconds_left": -1e12, "total": 0.5, "scored": 0.5, '
                '"failed": 0.5, "good_to_bad": 0.5, "bad_to_good": 0.5}'
            ),
        ),
    ],
)
def test_runs_are_shown_everywhere_when_their_stored_json_is_malformed(
    clinic: Clinic,
    logged_in: Callable[..., Browser],
    triage: Callable[..., Result],
    tmp_path: Path,
    kind: str,
    parameters: str,
    progress: str,
) -> None:
    clinic.execute(
        "INSERT INTO run (id, kind, status, parameters, progress) "
        f"VALUES (gen_random_uuid(), '{kind}', 'running', '{parameters}', '{progress}')"
    )
    [run] = clinic.query("SELECT id FROM run")
    browser = logged_in(Role.MANAGER)

    assert [browser.get(path).status_code for path in ("/runs", f"/runs/{run.id}")] == [200, 200]
    assert [triage("runs", *rest).code for rest in ((), ("list", "--json"), ("show", run.id))] == [0, 0, 0]
    page = ("--html", tmp_path / "run.html") if kind == "training" else ()
    assert triage("runs", "show", run.id, *page, "--json").code == 0
    with clinic.sessions() as session:
        assert read_gauges(session, lease=timedelta(minutes=1), stalled_after=timedelta(minutes=1)).runs
