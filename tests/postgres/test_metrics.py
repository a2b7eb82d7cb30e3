"""Metrics scraped from a real process, and the metrics that alerts and the dashboard refer to."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
import structlog
import yaml
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr
from sqlalchemy import text
from structlog.testing import capture_logs

import worker.metrics  # noqa: F401  # declares the metrics of a worker
from tests.support.command_line import Result
from tests.support.deployment import eventually
from triage.domain.card import RegisteredModel
from triage.domain.messages import IncomingAttachment, IncomingMessage
from triage.domain.states import RunKind
from triage.errors import DatabaseUnavailableError
from triage.storage import runs
from worker.exporter import Exporter
from worker.queues import PARTS, WORKERS
from worker.services import Services
from worker.settings import Settings

ROOT = Path(__file__).parents[2]
PATIENT = "Erika-Mustermann"


@pytest.fixture
def export(settings: Settings) -> Iterator[Callable[..., str]]:
    """Starts `triage metrics` with further variables and returns its URL; all end on SIGTERM."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TRIAGE_")} | {
        "TRIAGE_HOME": str(settings.home),
        "TRIAGE_DATABASE__URL": settings.database_url,
        "TRIAGE_REDIS__KEY_PREFIX": settings.redis.key_prefix,
        "TRIAGE_BLOBS__URL": settings.blobs_url,
    }
    command = [sys.executable, "-c", "from worker.cli import main; main()", "metrics", "--port", "0"]
    started: list[subprocess.Popen[str]] = []

    def start(**variables: str) -> str:
        variables = {f"TRIAGE_{name}": value for name, value in variables.items()}
        process = subprocess.Popen(command, env=environment | variables, stderr=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stderr is not None
        return f"http://127.0.0.1:{json.loads(process.stderr.readline())['port']}/metrics"

    yield start
    for process in started:
        process.send_signal(signal.SIGTERM)
        process.communicate()
    assert [process.returncode for process in started] == [0] * len(started)


@pytest.fixture
def exporter(export: Callable[..., str]) -> str:
    """The URL of a running `triage metrics`."""
    return export()


def _scrape(url: str) -> tuple[str, dict[tuple[str, tuple[str, ...]], float]]:
    with urlopen(url, timeout=30) as answer:
        text = answer.read().decode()
    return text, {
        (sample.name, tuple(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_scrape_returns_the_state_of_the_database(
    exporter: str, services: Services, live_model: RegisteredModel
) -> None:
    photos = [IncomingAttachment(data=b"a"), IncomingAttachment(data=b"b")]
    refused = IncomingAttachment(uri=f"file:///elsewhere/{PATIENT}.jpg")
    services.intake.enqueue([IncomingMessage("ehr", PATIENT, [*photos, refused], thread=PATIENT)])
    _recorded(services, 0)

    text, values = _scrape(exporter)

    assert values["triage_postgres_up", ()] == values["triage_redis_up", ()] == 1
    assert values["triage_pending_photos", ("fresh",)] == 2
    assert values["triage_oldest_pending_seconds", ()] > 0
    assert values["triage_parked_last_day", ("uri_not_allowed",)] == 1
    assert values["triage_retake_requests", ("flagged",)] == 0
    assert values["triage_model_info", ("fixture", "live", "0" * 12)] == 1
    assert values["triage_stalled", ("scoring",)] == 0
    assert values["triage_blob_store_up", ()] == 1
    assert values["triage_unread_photos", ()] == 0
    for name in ("photos", "models", "runs", "engines"):
        assert values["triage_volume_free_bytes", (name,)] > 0
        assert 0 < values["triage_volume_free_share", (name,)] < 1
        assert values["triage_volume_low", (name,)] in {0, 1}
    assert PATIENT not in text


def test_scrape_returns_the_epochs_of_running_trainings(exporter: str, services: Services) -> None:
    parameters = {"name": "ours", "manifest": f"/srv/{PATIENT}.csv", "config": {"epochs": 3}}
    with services.sessions.begin() as session:
        for _ in range(3):
            runs.start(session, RunKind.TRAINING, parameters)
        claimed = [runs.claim(session, RunKind.TRAINING, lease=timedelta(hours=1)) for _ in range(2)]
    assert claimed[0] is not None
    assert claimed[1] is not None
    epochs = [{"number": n, "train_loss": 0.9, "validation_loss": 0.8, "validation_auc": 0.5} for n in (1, 2)]
    last = {"number": 3, "train_loss": 0.5, "validation_loss": 0.25, "validation_auc": None}
    progress = {"epoch": 4, "epochs": [*epochs, last], "photos_per_second": 12.5}
    with services.sessions.begin() as session:
        run, token = claimed[0]
        runs.beat(session, run.id, token, lease=timedelta(hours=1), progress=progress)
        session.execute(text("UPDATE run SET heartbeat_at = now() - interval '1 minute' WHERE progress <> '{}'"))

    scraped, values = _scrape(exporter)

    labels, starting = ("ours", str(run.id)), ("ours", str(claimed[1][0].id))
    found = {name: value for (name, of), value in values.items() if of == labels}
    assert found.pop("triage_training_heartbeat_age_seconds") >= 60
    assert found == {
        "triage_training_epoch": 4,
        "triage_training_loss": 0.5,
        "triage_training_validation_loss": 0.25,
        "triage_training_photos_per_second": 12.5,
    }
    assert {name for name, of in values if of == starting} == {
        "triage_training_epoch",
        "triage_training_heartbeat_age_seconds",
    }
    assert PATIENT not in scraped


def test_scrape_reports_an_empty_blob_store_and_photos_that_cannot_be_read(exporter: str, services: Services) -> None:
    services.intake.enqueue(
        [IncomingMessage("ehr", "m", [IncomingAttachment(data=b"a"), IncomingAttachment(data=b"b")])]
    )
    with services.sessions.begin() as session:
        session.execute(text("UPDATE attachment SET storage_faults = 1"))
    folder = Path(services.settings.blobs_url)
    folder.rename(folder.with_name("away"))
    folder.mkdir()

    _, values = _scrape(exporter)

    assert values["triage_blob_store_up", ()] == 0
    assert values["triage_unread_photos", ()] == 2


def _recorded(services: Services, seconds_ago: int, *keys: str) -> None:
    for key in keys or ("heartbeat:beat", "heartbeat:intake", *(f"worker:{kind}" for kind in WORKERS)):
        services.redis.set(f"{services.settings.redis.key_prefix}{key}", 1, ex=86_400 - seconds_ago)


def _stalled(values: dict[tuple[str, tuple[str, ...]], float]) -> dict[str, float]:
    return {labels[0]: value for (name, labels), value in values.items() if name == "triage_stalled"}


def test_scrape_reports_the_parts_that_health_reports(
    exporter: str, services: Services, triage: Callable[..., Result]
) -> None:
    def check(*stalled: str) -> None:
        assert _stalled(_scrape(exporter)[1]) == {part: part in stalled for part in PARTS}
        assert [part for part in PARTS if triage("health", part).code] == list(stalled)

    _recorded(services, 0)
    check()
    for kind in WORKERS:
        services.redis.lpush(f"{services.settings.redis.key_prefix}{WORKERS[kind][0]}", "a task")
    check()
    for kind in WORKERS:
        _recorded(services, 600, f"worker:{kind}")
        check(kind)
        _recorded(services, 0)
    _recorded(services, 600, "heartbeat:beat")
    check("beat")
    _recorded(services, 0)
    _recorded(services, 600, "heartbeat:intake")
    check("intake")


def test_scrape_reports_what_the_database_knows_when_redis_is_unavailable(
    export: Callable[..., str], services: Services
) -> None:
    services.intake.enqueue([IncomingMessage("ehr", "m", [IncomingAttachment(data=b"a")])])
    with services.sessions.begin() as session:
        session.execute(text("UPDATE attachment SET due_at = now() - interval '1 hour'"))

    _, values = _scrape(export(REDIS__URL="redis://127.0.0.1:1/0"))

    assert (values["triage_redis_up", ()], values["triage_pending_photos", ("fresh",)]) == (0, 1)
    assert _stalled(values) == {"scoring": 1, "intake": 0, "training": 0}


def test_user_of_redis_who_only_reads_suffices(export: Callable[..., str], services: Services) -> None:
    redis, prefix = services.redis, services.settings.redis.key_prefix
    name = prefix.rstrip(":")
    rights: dict[str, Any] = {"categories": ["+@read", "+@connection"], "commands": ["+info"], "keys": [f"{prefix}*"]}
    redis.acl_setuser(name, enabled=True, passwords=["+pw"], **rights)
    try:
        socket_path = services.settings.redis_url.removeprefix("unix://")
        _, values = _scrape(export(REDIS__URL=f"unix://{name}:pw@{socket_path}"))
    finally:
        redis.acl_deluser(name)

    assert values["triage_redis_up", ()] == 1
    assert set(_stalled(values)) == set(PARTS)


def _collected(exporter: Exporter) -> tuple[dict[tuple[str, tuple[str, ...]], float], set[tuple[str, str]]]:
    """The values of one scrape, and target and kind of its warnings."""
    with capture_logs() as logs:
        values = {
            (sample.name, tuple(sample.labels.values())): sample.value
            for family in exporter.collect()
            for sample in family.samples
        }
    return values, {(line["target"], line["kind"]) for line in logs if line["event"] == "service.unavailable"}


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """A GPU whose driver responds only once the event is set."""
    awake = threading.Event()
    monkeypatch.setenv("NVIDIA_VISIBLE_DEVICES", "all")
    monkeypatch.setattr("worker.exporter.driver_responds", lambda: awake.wait(30))
    yield awake
    awake.set()


@pytest.fixture
def fresh_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.exporter.log", structlog.get_logger())  # another test may have configured the old one


@pytest.mark.usefixtures("fresh_log")
def test_scrape_reports_what_responds_when_other_sources_hang(services: Services, driver: threading.Event) -> None:
    services.intake.enqueue([IncomingMessage("ehr", "m", [IncomingAttachment(data=b"a")])])
    marker = Path(services.settings.blobs_url) / "triage-store-id"
    content = marker.read_bytes()
    marker.unlink()
    os.mkfifo(marker)  # a reader blocks until a writer opens it

    with socket.create_server(("127.0.0.1", 0)) as silent:
        redis = services.settings.redis.model_copy(
            update={"url": SecretStr(f"redis://127.0.0.1:{silent.getsockname()[1]}/0")}
        )
        with Services(services.settings.model_copy(update={"redis": redis})) as hanging:
            exporter = Exporter(hanging, stall=timedelta(minutes=1), seconds=1)
            [(values, warnings)] = eventually(
                lambda: [found for found in [_collected(exporter)] if found[0]["triage_postgres_up", ()]]
            )

            assert {target for target, kind in warnings if kind == "too_slow"} == {"blob_store", "redis", "driver"}
            assert (values["triage_blob_store_up", ()], values["triage_redis_up", ()]) == (0, 0)
            assert values["triage_driver_missing", ()] == 1
            assert (values["triage_postgres_up", ()], values["triage_pending_photos", ("fresh",)]) == (1, 1)
            assert values["triage_volume_free_bytes", ("photos",)] > 0

            other = marker.with_name("other")
            other.write_bytes(content)
            waits = os.open(marker, os.O_WRONLY)
            other.replace(marker)
            os.close(waits)
            driver.set()
            assert eventually(lambda: _collected(exporter)[0]["triage_blob_store_up", ()])
            assert _collected(exporter)[0]["triage_driver_missing", ()] == 0


@pytest.mark.usefixtures("fresh_log")
def test_scrape_waits_for_no_comparison_of_periods_and_reports_its_failure_later(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = threading.Event()

    def fail(_: object) -> None:
        released.wait(30)
        raise DatabaseUnavailableError("Postgres does not respond: retry")

    monkeypatch.setattr("worker.exporter.find_drift", fail)
    exporter = Exporter(services, stall=timedelta(minutes=1), seconds=60)
    scrapes = [_collected(exporter) for _ in range(2)]
    assert [values["triage_postgres_up", ()] for values, _ in scrapes] == [1, 1]
    assert [warnings for _, warnings in scrapes] == [set(), set()]

    released.set()

    assert eventually(lambda: _collected(exporter)[1]) == {("drift", "unreachable")}


def test_scrape_reports_an_unavailable_database(exporter: str, services: Services, engine: Any) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE attachment RENAME TO gone")

    _, values = _scrape(exporter)

    assert values["triage_postgres_up", ()] == 0
    assert ("triage_pending_photos", ("fresh",)) not in values


def test_metrics_in_alerts_and_dashboard_exist(exporter: str, services: Services, live_model: RegisteredModel) -> None:
    known = set(re.findall(r"^# TYPE (\S+)", _scrape(exporter)[0] + generate_latest().decode(), re.MULTILINE))
    rules = yaml.safe_load((ROOT / "deploy/prometheus/alerts.yml").read_text(encoding="utf-8"))["groups"][0]["rules"]
    dashboard = json.loads((ROOT / "deploy/grafana/triage.json").read_text(encoding="utf-8"))
    runbook = (ROOT / "docs/operations/monitoring.md").read_text(encoding="utf-8")
    expressions = [rule["expr"] for rule in rules]
    expressions += [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]

    for expression in expressions:
        for name in re.findall(r"triage_[a-z_]+", expression):
            assert name.removesuffix("_bucket") in known, name
        assert expression.count("(") == expression.count(")")
    for rule in rules:
        assert {"alert", "expr", "labels", "annotations"} <= set(rule)
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert f"| `{rule['alert']}` |" in runbook
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
