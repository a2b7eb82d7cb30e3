"""Login to the staff console by an identity provider: OpenID Connect with PKCE, and answers that prove nothing."""

from collections.abc import Callable, Iterator

import httpx2
import pytest
from joserfc.jwk import ECKey
from pydantic import SecretStr
from starlette.testclient import TestClient

from tests.support.console import ORIGIN, PASSWORD, Browser
from tests.support.login_provider import Provider
from triage.domain.staff import Role
from triage.staff import accounts
from worker.api.app import create_app
from worker.console.app import PATH, create_console
from worker.services import Services
from worker.settings import ConsoleSettings, Settings

PERSON = {"sub": "person-1", "preferred_username": "m.garcia", "realm_access": {"roles": ["offline", "nurses"]}}


@pytest.fixture
def trusting(settings: Settings, provider: Provider) -> Iterator[Services]:
    """Services whose console trusts the provider."""
    console = ConsoleSettings(
        issuer=provider.url,
        client_id=provider.CLIENT,
        client_secret=SecretStr(provider.SECRET),
        role_claim="realm_access.roles",
        roles={"nurses": Role.REVIEWER, "heads": Role.MANAGER},
    )
    with Services(settings.model_copy(update={"console": console})) as services:
        yield services


@pytest.fixture
def open_browser(trusting: Services) -> Callable[[], Browser]:
    app = create_app(trusting, ORIGIN, {PATH: create_console})
    return lambda: Browser(TestClient(app, base_url=ORIGIN, follow_redirects=False, raise_server_exceptions=False))


def log_in(browser: Browser, provider: Provider, **claims: object) -> httpx2.Response:
    asked = browser.get("/login/provider")
    assert asked.status_code == 303
    return browser.get(f"/login/callback?{provider.log_in(asked.headers['location'], **PERSON | claims)}")


def test_provider_logs_a_person_in_and_gives_the_role(
    open_browser: Callable[[], Browser], provider: Provider, trusting: Services
) -> None:
    browser = open_browser()
    assert "/console/login/provider" in browser.get("/login").text

    answer = log_in(browser, provider)

    assert (answer.status_code, answer.headers["location"]) == (303, "/console/")
    assert "m.garcia" in browser.get("/account").text
    log_in(browser, provider, realm_access={"roles": ["nurses", "heads"]}, preferred_username="renamed")
    [member] = accounts.list_accounts(trusting.sessions)
    assert (member.name, member.role, member.issuer) == ("m.garcia", Role.MANAGER, provider.url)


@pytest.mark.parametrize(
    "audience",
    [{"aud": ["triage-console"]}, {"aud": ["triage-console", "another"], "azp": "triage-console"}],
    ids=str,
)
def test_login_is_granted_when_the_token_is_for_this_client(
    open_browser: Callable[[], Browser], provider: Provider, audience: dict[str, object]
) -> None:
    provider.changes = audience

    assert log_in(open_browser(), provider).status_code == 303


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://other.example.org"},
        {"aud": "another-client"},
        {"aud": ["triage-console", "another"], "azp": "another"},
        {"aud": ["triage-console", "another"]},
        {"nonce": "of-another-login"},
        {"nonce": None},
        {"exp": 1_000_000_000},
        {"sub": None},
        {"sub": 7},
        {"preferred_username": "not a name"},
        {"realm_access": {"roles": ["patients"]}},
        {"realm_access": None},
    ],
    ids=str,
)
def test_login_is_refused_when_a_claim_is_wrong(
    open_browser: Callable[[], Browser], provider: Provider, trusting: Services, changes: dict[str, object]
) -> None:
    provider.changes = changes
    browser = open_browser()

    assert log_in(browser, provider).status_code == 403

    assert accounts.list_accounts(trusting.sessions) == []
    assert browser.get("/account").status_code == 303


def test_login_is_refused_when_the_token_has_another_signature(
    open_browser: Callable[[], Browser], provider: Provider
) -> None:
    browser = open_browser()
    log_in(browser, provider)
    provider.key = ECKey.generate_key("P-256", {"kid": "k1"})  # of the same id: the known key does not verify it

    assert log_in(open_browser(), provider).status_code == 403


def test_answer_is_refused_in_another_browser_and_a_second_time(
    open_browser: Callable[[], Browser], provider: Provider
) -> None:
    victim, attacker = open_browser(), open_browser()
    asked = attacker.get("/login/provider").headers["location"]
    planted = provider.log_in(asked, **PERSON)

    assert victim.get(f"/login/callback?{planted}").headers["location"] == "/console/login"  # began no login
    victim.get("/login/provider")
    assert victim.get(f"/login/callback?{planted}").status_code == 403  # began another one
    assert attacker.get(f"/login/callback?{planted}").status_code == 303
    attacker.get("/login/provider")
    assert attacker.get(f"/login/callback?{planted}").status_code == 403
    assert attacker.get("/login/callback?error=access_denied").status_code == 403


def test_provider_cannot_take_over_an_account_with_a_password(
    open_browser: Callable[[], Browser], provider: Provider, trusting: Services
) -> None:
    accounts.add(trusting.sessions, "m.garcia", Role.ADMINISTRATOR, password=PASSWORD, by="admin")

    assert log_in(open_browser(), provider).status_code == 409


def test_disabled_account_stays_disabled_when_the_provider_logs_it_in(
    open_browser: Callable[[], Browser], provider: Provider, trusting: Services
) -> None:
    log_in(open_browser(), provider)
    accounts.disable(trusting.sessions, "m.garcia", by="admin")

    assert log_in(open_browser(), provider).status_code == 401


@pytest.mark.parametrize(
    "metadata",
    [{"issuer": "https://other.example.org"}, {"token_endpoint": "http://other.example.org/token"}, {"jwks_uri": None}],
    ids=str,
)
def test_provider_is_unavailable_when_its_metadata_are_wrong(
    open_browser: Callable[[], Browser], provider: Provider, metadata: dict[str, object]
) -> None:
    provider.metadata = metadata

    assert open_browser().get("/login/provider").status_code == 503
