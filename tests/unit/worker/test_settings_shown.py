"""`triage settings`, and the pages made from the settings."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.command_line import Result
from worker.documents.settings import without_password
from worker.documents.settings_pages import env_example, with_settings_table
from worker.settings import VARIABLES

ROOT = Path(__file__).parents[3]
SECRET = "swordfish"


@pytest.fixture(autouse=True)
def environment_of_this_test(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in os.environ:
        if name.startswith("TRIAGE_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("TRIAGE_HOME", str(tmp_path))


def test_every_setting_is_shown_with_its_value_and_source(
    run_command: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TRIAGE_RETENTION__PHOTO_DAYS", "30")
    monkeypatch.setenv("TRIAGE_INTAKE__URI_ROOTS", '["file:///srv/in"]')
    monkeypatch.setenv("TRIAGE_REDIS__URL", f"rediss://:{SECRET}@cache:6380/1")

    found = {each["variable"]: each for each in run_command("settings", "--json").json}

    assert list(found) == list(VARIABLES)
    shown = {name: (each["value"], each["source"]) for name, each in found.items()}
    assert shown["TRIAGE_RETENTION__PHOTO_DAYS"] == (30, "environment")
    assert shown["TRIAGE_INTAKE__URI_ROOTS"] == (["file:///srv/in"], "environment")
    assert shown["TRIAGE_REDIS__URL"] == ("rediss://:***@cache:6380/1", "environment")
    assert shown["TRIAGE_BLOBS__URL"] == (str(tmp_path / "blobs"), "embedded")
    assert shown["TRIAGE_INBOX__LEASE_SECONDS"] == (300, "default")
    assert shown["TRIAGE_SCORER__THREADS"] == (None, "default")


def test_no_secret_is_shown(run_command: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIAGE_DATABASE__URL", f"postgresql+psycopg://u:{SECRET}@db/n?password={SECRET}")
    monkeypatch.setenv("TRIAGE_REDIS__URL", f"redis://u:{SECRET}@cache")
    monkeypatch.setenv("TRIAGE_BLOBS__URL", f"s3://key:{SECRET}@bucket")
    monkeypatch.setenv("TRIAGE_INTAKE__URI_ROOTS", f'["https://u:{SECRET}@server/in"]')
    monkeypatch.setenv("TRIAGE_TRAINING__MLFLOW_URI", f"https://u:{SECRET}@mlflow.example.org/{SECRET}")
    monkeypatch.setenv("TRIAGE_WEBHOOK__URL", f"https://ehr.example.org/hooks/{SECRET}?key={SECRET}")
    monkeypatch.setenv("TRIAGE_WEBHOOK__SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    for role, password in {"MIGRATOR": SECRET, "WORKER": f"like://{SECRET}", "REPORT": f"{SECRET}://"}.items():
        monkeypatch.setenv(f"TRIAGE_ROLES__{role}_PASSWORD", password)

    for options in ([], ["--json"], ["--env-example"]):
        shown = run_command("settings", *options)
        assert shown.code == 0
        assert SECRET not in shown.out
    shown_urls = {each["variable"]: each["value"] for each in run_command("settings", "--json").json}
    assert shown_urls["TRIAGE_TRAINING__MLFLOW_URI"] == "***"
    assert shown_urls["TRIAGE_WEBHOOK__URL"] == "https://ehr.example.org/***"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql+psycopg://u:p@h:5432/n", "postgresql+psycopg://u:***@h:5432/n"),
        ("postgresql+psycopg://u:p@p/p?p@h/n", "postgresql+psycopg://u:***@h/n"),
        ("redis://h:6379/0?password=p&db=1", "redis://h:6379/0?password=***&db=1"),
        ("redis://h:6379/0", "redis://h:6379/0"),
        ("https://h/p?sig=p&X-Amz-Signature=p", "https://h/p?sig=***&X-Amz-Signature=***"),
        ("s3://bucket/folder", "s3://bucket/folder"),
        ("/srv/blobs", "/srv/blobs"),
    ],
)
def test_password_of_a_url_is_masked(url: str, shown: str) -> None:
    assert without_password(url) == shown


def test_committed_pages_are_those_made_from_the_settings() -> None:
    page = (ROOT / "docs" / "operations" / "settings.md").read_text(encoding="utf-8")

    assert page == with_settings_table(page), "run `make pages`"
    assert (ROOT / "deploy" / "env.example").read_text(encoding="utf-8") == env_example(), "run `make pages`"


def test_example_has_every_variable_once_and_its_values_are_accepted(
    run_command: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    example = run_command("settings", "--env-example")
    values = re.findall(r"^#(TRIAGE_\w+)=(.*)$", example.out, re.MULTILINE)

    assert [name for name, _ in values] == list(VARIABLES)
    for name, value in values:
        if value:
            monkeypatch.setenv(name, value)
    changed = [each for each in json.loads(run_command("settings", "--json").out) if each["source"] == "environment"]
    assert len(changed) == 1 + sum(bool(value) for _, value in values)


def test_every_setting_has_a_meaning() -> None:
    assert [name for name, variable in VARIABLES.items() if not variable.meaning] == []


def test_env_example_and_json_exclude_each_other(run_command: Callable[..., Result]) -> None:
    assert run_command("settings", "--env-example", "--json").code == 2
