"""Debian's tools read the files in deploy/prometheus, and each fault of `alerts_test.yml` raises its alert."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from worker.queues import PARTS, WORKERS

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "deploy/prometheus"


def _read(name: str) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))
    return document


@pytest.mark.parametrize(
    "arguments",
    [
        ("promtool", "check", "config", "prometheus.yml"),
        ("promtool", "check", "config", "prometheus-debian.yml"),
        ("promtool", "check", "rules", "alerts.yml"),
        ("promtool", "test", "rules", "alerts_test.yml"),
        ("amtool", "check-config", "alertmanager.yml"),
    ],
    ids=" ".join,
)
def test_debians_tools_accept_the_files(arguments: tuple[str, ...]) -> None:
    if shutil.which(arguments[0]) is None:
        pytest.skip(f"{arguments[0]} is missing: tests/install-packages")
    done = subprocess.run(arguments, cwd=FOLDER, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_raised_by_a_fault_and_silent_in_a_healthy_clinic() -> None:
    alerts = [rule["alert"] for rule in _read("deploy/prometheus/alerts.yml")["groups"][0]["rules"]]
    healthy, *faults = _read("deploy/prometheus/alerts_test.yml")["tests"]

    assert [test["alertname"] for test in healthy["alert_rule_test"]] == alerts
    assert not any(test["exp_alerts"] for test in healthy["alert_rule_test"])
    assert [fault["name"] for fault in faults] == alerts
    for fault in faults:
        [raised] = fault["alert_rule_test"]
        assert raised["alertname"] == fault["name"]
        assert raised["exp_alerts"]


def test_an_alert_is_raised_for_each_part() -> None:
    [test] = [test for test in _read("deploy/prometheus/alerts_test.yml")["tests"] if test["name"] == "TriageStalled"]
    [raised] = test["alert_rule_test"]

    assert {alert["exp_labels"]["part"] for alert in raised["exp_alerts"]} == set(PARTS)


def test_every_worker_of_the_compose_file_is_scraped_where_it_listens() -> None:
    services = _read("docker-compose.yml")["services"]
    jobs = {job["job_name"]: job for job in _read("deploy/prometheus/prometheus.yml")["scrape_configs"]}
    [discovery] = jobs["triage-workers"]["dns_sd_configs"]
    workers = {name for name, service in services.items() if service.get("command", [""])[0] == "worker"}

    assert set(discovery["names"]) == workers
    assert {services[name]["command"][1] for name in workers} == set(WORKERS)
    for name in workers:
        environment = services[name]["environment"]
        assert environment["TRIAGE_METRICS__HOST"] == "0.0.0.0"
        assert environment["TRIAGE_METRICS__WORKER_PORT"] == discovery["port"]
    [exporter] = jobs["triage"]["static_configs"]
    assert exporter["targets"] == ["metrics:9464"]


def test_every_worker_of_the_systemd_units_is_scraped_where_it_listens() -> None:
    text = (FOLDER / "prometheus-debian.yml").read_text(encoding="utf-8")
    targets = {
        part: port for port, part in re.findall(r'\{targets: \["127.0.0.1:(\d+)"\], labels: \{part: (\w+)\}\}', text)
    }
    units = {part: (ROOT / f"deploy/systemd/triage-{part}.service").read_text(encoding="utf-8") for part in WORKERS}

    assert set(targets) == set(WORKERS)
    for part, unit in units.items():
        assert f"\nEnvironment=TRIAGE_METRICS__WORKER_PORT={targets[part]}\n" in unit
    jobs = yaml.safe_load(text)["scrape_configs"]
    assert [job["job_name"] for job in jobs] == ["triage", "triage-workers"]
    assert {each["labels"]["part"] for each in jobs[1]["static_configs"]} == {"scoring", "intake"}  # always deployed
