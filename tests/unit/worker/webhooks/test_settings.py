import pytest

from triage.errors import UsageError
from worker.settings import load_settings

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
RIGHT = {"URL": "https://ehr.example.org/hook?tenant=7", "SECRET": SECRET}


def _load(monkeypatch: pytest.MonkeyPatch, **changes: str | None) -> None:
    for name, value in (RIGHT | changes).items():
        if value is not None:
            monkeypatch.setenv(f"TRIAGE_WEBHOOK__{name}", value)
    load_settings()


@pytest.mark.parametrize("secret", [SECRET, SECRET.removeprefix("whsec_")])
def test_receiver_is_configured_by_a_url_and_a_secret(monkeypatch: pytest.MonkeyPatch, secret: str) -> None:
    _load(monkeypatch, SECRET=secret, PREVIOUS_SECRET=SECRET, LOCAL_NETWORKS='["10.20.0.0/16"]')


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"SECRET": None}, "set url and secret together"),
        ({"URL": None}, "set url and secret together"),
        ({"URL": "ftp://ehr.example.org/"}, "must start with https://"),
        ({"URL": "https:///hook"}, "needs a host"),
        ({"URL": "https://user@ehr.example.org/hook"}, "no user"),
        ({"URL": "https://ehr.example.org/hook#part"}, "no fragment"),
        ({"URL": "https://ehr.example.org/a b"}, "printable ASCII"),
        ({"URL": "https://ehr.example.org/\u00e4"}, "printable ASCII"),
        ({"URL": "https://ehr.example.org/\r\nX-Header: 1"}, "printable ASCII"),
        ({"URL": "https://ehr.example.org:0/"}, "malformed host or port"),
        ({"URL": "https://ehr..example.org/"}, "malformed host or port"),
        ({"URL": f"https://{'ehr' * 25}.example.org/"}, "malformed host or port"),
        ({"SECRET": "whsec_c2hvcnQ="}, "24 to 64 random bytes"),
        ({"SECRET": "whsec_" + "A" * 200}, "24 to 64 random bytes"),
        ({"SECRET": "not base64 at all, and long enough to be a secret"}, "24 to 64 random bytes"),
        ({"PREVIOUS_SECRET": "old"}, "24 to 64 random bytes"),
        ({"TIMEOUT_SECONDS": "60"}, "less than or equal to 20"),
    ],
)
def test_setting_is_refused_without_its_value(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, str | None], problem: str
) -> None:
    with pytest.raises(UsageError, match=problem) as raised:
        _load(monkeypatch, **changes)

    assert "TRIAGE_WEBHOOK" in str(raised.value)
    assert "ehr.example.org" not in str(raised.value)
    assert SECRET not in str(raised.value)
