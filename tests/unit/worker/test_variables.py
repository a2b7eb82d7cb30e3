import os

import pytest

from triage.errors import UsageError
from worker.settings import VARIABLES, load_settings
from worker.variables import unknown_variables


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("TRIAGE_"):
            monkeypatch.delenv(name)


@pytest.mark.parametrize(
    "name",
    [
        "TRIAGE_RETENTON__PHOTO_DAYS",
        "TRIAGE_RETENTION__PHOTO_DAY",
        "TRIAGE_RETENTION_PHOTO_DAYS",
        "TRIAGE__RETENTION__PHOTO_DAYS",
        "triage_retenton__photo_days",
    ],
)
def test_misspelt_variable_is_refused_with_the_nearest_name(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "30")

    with pytest.raises(UsageError) as raised:
        load_settings()

    assert str(raised.value) == (
        f"invalid settings: {name}: unknown setting: use TRIAGE_RETENTION__PHOTO_DAYS, or unset it"
    )


def test_setting_is_named_when_it_is_called_as_in_the_documentation() -> None:
    assert unknown_variables({"TRIAGE_STATE_FOLDER": "/srv"}, VARIABLES) == [
        "TRIAGE_STATE_FOLDER: unknown setting: use TRIAGE_HOME, or unset it"
    ]


@pytest.mark.parametrize(
    "name", ["TRIAGE_DATABASE__URL__X", "TRIAGE_INBOX__LEASE_SECONDS__A__B", "TRIAGE_", "TRIAGE_Q", "TRIAGE_LOG_"]
)
def test_unknown_variable_of_any_depth_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "tcp://value")

    with pytest.raises(UsageError, match=f"^invalid settings: {name}: unknown setting: ") as raised:
        load_settings()

    assert "value" not in str(raised.value)


def test_only_the_first_unknown_variables_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(8):
        monkeypatch.setenv(f"TRIAGE_Q{number}\n{'x' * 500}", "")

    with pytest.raises(UsageError, match=r"; and 3 more$") as raised:
        load_settings()

    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 1000


def test_variable_is_accepted_in_small_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("triage_inbox__lease_seconds", "90")

    assert load_settings().inbox.lease_seconds == 90


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TRIAGE_SERVICE_HOST", "10.0.0.1"),
        ("TRIAGE_SERVICE_PORT", "9464"),
        ("TRIAGE_SERVICE_PORT_METRICS", "9464"),
        ("TRIAGE_PORT", "tcp://10.0.0.1:9464"),
        ("TRIAGE_PORT_9464_TCP", "tcp://10.0.0.1:9464"),
        ("TRIAGE_PORT_9464_TCP_ADDR", "10.0.0.1"),
        ("TRIAGE_REDIS_PORT", "tcp://10.0.0.1:6379"),
        ("TRIAGE_REDIS_SERVICE_HOST", "10.0.0.1"),
        ("OTHER_RETENTON__PHOTO_DAYS", "1"),
    ],
)
def test_address_of_a_service_in_kubernetes_is_no_setting(name: str, value: str) -> None:
    assert unknown_variables({name: value}, VARIABLES) == []


def test_misspelt_port_is_no_address_of_a_service() -> None:
    assert unknown_variables({"TRIAGE_METRICS_WORKER_PORT": "9464"}, VARIABLES) == [
        "TRIAGE_METRICS_WORKER_PORT: unknown setting: use TRIAGE_METRICS__WORKER_PORT, or unset it"
    ]
