import os

import pytest

from triage.errors import UsageError
from worker.settings import Settings, load_settings


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("TRIAGE_"):
            monkeypatch.delenv(name)


def test_every_setting_has_a_default() -> None:
    settings = load_settings()

    assert settings.database_url.startswith("postgresql+psycopg://")
    assert settings.redis_url.startswith("unix://")
    assert settings.intake.uri_roots == ()


@pytest.mark.parametrize(
    ("name", "value", "read"),
    [
        ("TRIAGE_DATABASE__URL", "postgresql+psycopg://db/triage", lambda s: s.database_url),
        ("TRIAGE_REDIS__URL", "rediss://cache:6380/1", lambda s: s.redis_url),
        ("TRIAGE_INBOX__LEASE_SECONDS", "90", lambda s: f"{s.lease.total_seconds():.0f}"),
        ("TRIAGE_RETAKES__COOLDOWN_HOURS", "12", lambda s: f"{s.retake_policy.cooldown.total_seconds() / 3600:.0f}"),
        ("TRIAGE_INTAKE__MAX_PIXELS", "1000", lambda s: f"{s.image_limits.max_pixels}"),
    ],
)
def test_environment_is_read(monkeypatch: pytest.MonkeyPatch, name: str, value: str, read) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv(name, value)

    assert read(load_settings()) == value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TRIAGE_INBOX__MAX_ATTEMPTS", "0"),
        ("TRIAGE_INTAKE__URI_ROOTS", "[unfinished"),
        ("TRIAGE_LOG__FORMAT", "yaml"),
        ("TRIAGE_SCHEDULE__RESCORING_HOUR_UTC", "24"),
        ("TRIAGE_INBOX__LEASE_SECOND", "60"),
        ("TRIAGE_DATABASE__URL", "mysql://db/triage"),
        ("TRIAGE_REDIS__URL", "https://cache"),
        ("TRIAGE_REDIS__URL", "redis://cache/triage"),
        ("TRIAGE_TRAINING__MLFLOW_URI", "file:///srv/mlflow"),
        ("TRIAGE_REDIS__URL", "redis://cache/1/2"),
    ],
)
def test_error_names_the_invalid_variable_in_one_line(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(UsageError) as raised:
        load_settings()

    assert name in str(raised.value)
    assert value not in str(raised.value) or value == "0"
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["TRIAGE_DATABASE__URL", "TRIAGE_REDIS__CA_FILE", "TRIAGE_SCORER__DEVICE"])
def test_value_is_refused_when_it_is_empty(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "")

    with pytest.raises(UsageError, match=f"{name}: the value is empty"):
        load_settings()


def test_secrets_are_not_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIAGE_DATABASE__URL", "postgresql+psycopg://triage:swordfish@db/triage")
    monkeypatch.setenv("TRIAGE_REDIS__URL", "redis://:swordfish@cache")

    settings = load_settings()

    assert "swordfish" not in f"{settings!r} {settings} {settings.model_dump_json()}"
    assert "swordfish" in settings.database_url


def test_settings_are_immutable() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().inbox.lease_seconds = 1  # type: ignore[misc]


@pytest.mark.parametrize("name", ["TRIAGE_API__PUBLIC_URL", "TRIAGE_FHIR__URL"])
@pytest.mark.parametrize(
    "url",
    [
        "https://user:secret@triage.example.org",
        "https://tri age.example.org",
        "https://triage.example.org/?a=1",
        "https://triage.example.org/#a",
        "https://a..b/",
        "https:///triage",
        "ftp://triage.example.org",
        "",
    ],
)
def test_base_address_is_refused_when_it_is_more_than_an_address(
    monkeypatch: pytest.MonkeyPatch, name: str, url: str
) -> None:
    monkeypatch.setenv(name, url)

    with pytest.raises(UsageError, match=name) as raised:
        load_settings()

    assert "secret" not in str(raised.value)


def test_base_address_loses_its_last_slash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIAGE_API__PUBLIC_URL", "https://triage.example.org/a/")

    assert load_settings().api.public_url == "https://triage.example.org/a"


def test_pushed_messages_have_a_source_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIAGE_FHIR__PUSH_SOURCE", "fhir")

    with pytest.raises(UsageError, match="name two"):
        load_settings()
