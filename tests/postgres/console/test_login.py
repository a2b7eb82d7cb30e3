"""Login, sessions and forms of the staff console: who is let in, for how long, and which forms count."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import text
from starlette.applications import Starlette
from starlette.testclient import TestClient

from tests.support.console import ORIGIN, PASSWORD, Browser
from triage.domain.staff import Role
from triage.errors import UsageError
from triage.staff import accounts, login
from triage.staff.passwords import is_password
from triage.storage.database import Sessions
from worker.api.app import create_app
from worker.console.app import PATH, create_console
from worker.tasks.base import WorkerServices

LoggedIn = Callable[..., Browser]


def change(sessions: Sessions, sql: str) -> None:
    with sessions.begin() as session:
        session.execute(text(sql))


def query(sessions: Sessions, sql: str) -> list[Any]:
    with sessions() as session:
        return [tuple(row) for row in session.execute(text(sql))]


def test_login_opens_the_page_that_was_asked_for(services: WorkerServices, browser: Callable[[], Browser]) -> None:
    accounts.add(services.sessions, "dr-7", Role.READER, password=PASSWORD, by="admin")
    opened = browser()

    asked = opened.get("/account")
    assert (asked.status_code, asked.headers["location"]) == (303, "/console/login?next=%2Fconsole%2Faccount")
    form = opened.get("/login?next=%2Fconsole%2Faccount")
    assert 'name="next" value="/console/account"' in form.text
    answer = opened.post("/login", name="dr-7", password=PASSWORD, next="/console/account")

    assert (answer.status_code, answer.headers["location"]) == (303, "/console/account")
    assert "dr-7" in opened.get("/account").text


@pytest.mark.parametrize(
    "after",
    [
        "https://evil.example.org/",
        "//evil.example.org",
        "/console//evil",
        "/v1/retakes",
        "/console/../v1/retakes",
        "/console/a/..",
    ],
)
def test_login_leads_to_no_other_site(services: WorkerServices, browser: Callable[[], Browser], after: str) -> None:
    accounts.add(services.sessions, "dr-7", Role.READER, password=PASSWORD, by="admin")

    answer = browser().post("/login", name="dr-7", password=PASSWORD, next=after)

    assert answer.headers["location"] == "/console/"


def test_wrong_name_password_and_disabled_account_look_the_same(
    services: WorkerServices, browser: Callable[[], Browser]
) -> None:
    for name in ("dr-7", "dr-8"):
        accounts.add(services.sessions, name, Role.READER, password=PASSWORD, by="admin")
    accounts.disable(services.sessions, "dr-8", by="admin")

    answers = [
        browser().post("/login", name=name, password=password)
        for name, password in (("dr-7", "wrong"), ("dr-9", PASSWORD), ("dr-8", PASSWORD), ("\x00", "x" * 99))
    ]

    assert {answer.status_code for answer in answers} == {401}
    assert len({re.sub(r'value="[^"]*"', "", answer.text) for answer in answers}) == 1


def test_login_form_keeps_the_name_when_the_password_is_wrong(browser: Callable[[], Browser]) -> None:
    page = browser().post("/login", name='dr-7"><b>', password="wrong").text

    assert 'value="dr-7&#34;&gt;&lt;b&gt;"' in page
    assert "wrong" not in re.findall(r'value="([^"]*)"', page)


def test_root_of_the_server_leads_to_the_console(console: Starlette, services: WorkerServices) -> None:
    answer = TestClient(console, base_url=ORIGIN, follow_redirects=False).get("/")
    assert (answer.status_code, answer.headers["location"]) == (307, "/console/")
    assert TestClient(create_app(services, ORIGIN), base_url=ORIGIN, follow_redirects=False).get("/").status_code == 404


def test_passwords_are_no_longer_checked_when_one_address_tries_many_names(
    services: WorkerServices, browser: Callable[[], Browser], console: Starlette, monkeypatch: pytest.MonkeyPatch
) -> None:
    accounts.add(services.sessions, "dr-7", Role.READER, password=PASSWORD, by="admin")
    own = browser()
    own.log_in("dr-7")
    checked: list[str] = []

    def check(password: str, stored: str | None) -> bool:
        checked.append(password)
        return is_password(password, stored)

    monkeypatch.setattr(login, "is_password", check)
    monkeypatch.setattr(login, "MAX_ATTEMPTS_OF_ADDRESS", 3)  # the own login was the first attempt

    statuses = [browser().post("/login", name=f"dr-{n}", password="wrong").status_code for n in range(20, 24)]

    assert statuses == [401, 401, 429, 429]
    assert len(checked) == 2
    assert own.log_in("dr-7").status_code == 303  # a browser that is known
    elsewhere = TestClient(console, base_url=ORIGIN, follow_redirects=False, client=("10.1.2.3", 5))
    assert Browser(elsewhere).log_in("dr-7").status_code == 303


def test_session_has_a_new_id_after_login(services: WorkerServices, logged_in: LoggedIn, browser: Any) -> None:
    """An id that an attacker has planted, or that was used before the login, is worth nothing after it."""
    planted = browser()
    planted.client.cookies.set("triage-session", "planted-by-an-attacker", domain="127.0.0.1", path="/")
    accounts.add(services.sessions, "dr-8", Role.READER, password=PASSWORD, by="admin")
    planted.log_in("dr-8")
    first = planted.session
    assert first != "planted-by-an-attacker"

    planted.log_in("dr-8")

    assert planted.session != first
    thief = browser()
    for stolen in ("planted-by-an-attacker", first):
        thief.client.cookies.set("triage-session", stolen)
        assert thief.get("/account").headers["location"].startswith("/console/login")


def test_cookies_are_bound_to_this_host_when_it_is_reached_by_https(services: WorkerServices) -> None:
    accounts.add(services.sessions, "dr-7", Role.READER, password=PASSWORD, by="admin")
    site = "https://triage.example.org"
    app = create_app(services, site, {PATH: create_console})
    client = TestClient(app, base_url=site, follow_redirects=False)

    answer = client.post(
        f"{PATH}/login", data={"name": "dr-7", "password": PASSWORD}, headers={"Origin": "https://triage.example.org"}
    )

    cookies = answer.headers.get_list("set-cookie")
    assert [each.partition("=")[0] for each in cookies] == ["__Host-triage-session", "__Host-triage-browser"]
    for cookie in cookies:
        attributes = {each.strip().lower() for each in cookie.split(";")[1:]}
        assert {"httponly", "secure", "samesite=lax", "path=/"} <= attributes
        assert not any(each.startswith("domain") for each in attributes)
    assert answer.headers["strict-transport-security"]


def test_console_is_left_out_when_browsers_cannot_reach_it_safely(services: WorkerServices) -> None:
    for base_url in ("http://0.0.0.0:8080", "http://triage.example.org"):
        client = TestClient(create_app(services, base_url, {PATH: create_console}), base_url="http://127.0.0.1")
        assert client.get(f"{PATH}/login").status_code == 404


def test_session_ends_when_its_time_is_up(logged_in: LoggedIn, services: WorkerServices, sessions: Sessions) -> None:
    opened = logged_in()
    change(sessions, "UPDATE staff_session SET seen_at = seen_at - interval '14 minutes'")
    assert opened.get("/account").status_code == 200  # the request extends it
    change(sessions, "UPDATE staff_session SET seen_at = seen_at - interval '14 minutes'")
    assert opened.get("/account").status_code == 200

    change(sessions, "UPDATE staff_session SET seen_at = seen_at - interval '16 minutes'")
    assert opened.get("/account").status_code == 303

    other = logged_in(name="dr-8")
    change(sessions, "UPDATE staff_session SET created_at = created_at - interval '13 hours'")
    assert other.get("/account").status_code == 303


def end_by_logout(services: WorkerServices, opened: Browser) -> None:
    opened.post("/logout")


def end_by_disabling(services: WorkerServices, opened: Browser) -> None:
    accounts.disable(services.sessions, "dr-7", by="admin")


def end_by_password(services: WorkerServices, opened: Browser) -> None:
    accounts.change_password(services.sessions, "dr-7", password="another long password", by="admin")


def end_by_administrator(services: WorkerServices, opened: Browser) -> None:
    assert accounts.end_sessions(services.sessions, "dr-7", by="admin") == 1


@pytest.mark.parametrize("end", [end_by_logout, end_by_disabling, end_by_password, end_by_administrator])
def test_session_is_worthless_when_it_was_ended(
    logged_in: LoggedIn, services: WorkerServices, browser: Any, end: Callable[[WorkerServices, Browser], None]
) -> None:
    opened = logged_in()
    token = opened.session

    end(services, opened)

    thief = browser()
    thief.client.cookies.set("triage-session", token)
    assert thief.get("/account").status_code == 303


def test_role_changes_in_open_sessions(logged_in: LoggedIn, services: WorkerServices) -> None:
    opened = logged_in(Role.ADMINISTRATOR)
    assert opened.get("/staff").status_code == 200

    accounts.change_role(services.sessions, "dr-7", Role.READER, by="admin")

    assert opened.get("/staff").status_code == 403


def test_form_is_refused_when_it_is_forged(logged_in: LoggedIn, sessions: Sessions) -> None:
    opened, other = logged_in(Role.ADMINISTRATOR), logged_in(Role.ADMINISTRATOR, "dr-8")
    right = opened.csrf

    answers = [
        opened.post("/staff/end-sessions", name="dr-8", csrf=right, origin="https://evil.example.org"),
        opened.post("/staff/end-sessions", name="dr-8", csrf=right, origin="null"),
        opened.post("/staff/end-sessions", name="dr-8", csrf=right, origin=None),
        opened.post("/staff/end-sessions", name="dr-8", csrf=other.csrf),
        opened.post("/staff/end-sessions", name="dr-8", csrf=""),
        opened.post("/staff/end-sessions", name="dr-8", csrf="é"),
    ]

    assert {answer.status_code for answer in answers} == {403}
    assert other.get("/account").status_code == 200
    assert opened.post("/staff/end-sessions", name="dr-8", csrf=right).status_code == 303
    assert other.get("/account").status_code == 303


def test_login_form_is_refused_when_it_is_from_another_site(
    services: WorkerServices, browser: Callable[[], Browser]
) -> None:
    accounts.add(services.sessions, "dr-7", Role.READER, password=PASSWORD, by="admin")

    answer = browser().post("/login", name="dr-7", password=PASSWORD, origin="https://evil.example.org")

    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers


def test_attempts_are_limited_and_lock_out_only_where_they_come_from(
    services: WorkerServices, browser: Callable[[], Browser], console: Starlette, sessions: Sessions
) -> None:
    accounts.add(services.sessions, "dr-7", Role.READER, password=PASSWORD, by="admin")
    own = browser()
    own.log_in("dr-7")
    own.post("/logout")

    attacker = browser()
    statuses = [attacker.post("/login", name="dr-7", password="wrong").status_code for _ in range(12)]
    assert statuses == [401] * 10 + [429] * 2
    assert attacker.post("/login", name="dr-7", password=PASSWORD).status_code == 429

    assert own.log_in("dr-7").status_code == 303  # the browser of an earlier login
    elsewhere = TestClient(console, base_url=ORIGIN, follow_redirects=False, client=("10.1.2.3", 5))
    assert Browser(elsewhere).log_in("dr-7").status_code == 303  # another address
    change(sessions, "UPDATE login_attempt SET since = since - interval '16 minutes'")
    assert attacker.log_in("dr-7").status_code == 303


def test_success_resets_the_count_of_attempts(services: WorkerServices, browser: Callable[[], Browser]) -> None:
    accounts.add(services.sessions, "dr-7", Role.READER, password=PASSWORD, by="admin")
    for _ in range(2):
        fresh = browser()
        assert {fresh.post("/login", name="dr-7", password="wrong").status_code for _ in range(9)} == {401}
        assert fresh.log_in("dr-7").status_code == 303


def test_stored_secrets_are_hashes(logged_in: LoggedIn, sessions: Sessions) -> None:
    opened = logged_in()
    browser_id = opened.client.cookies["triage-browser"]

    stored = str(
        [
            query(sessions, f"SELECT * FROM {table}")
            for table in ("staff", "staff_session", "login_attempt", "audit_event")
        ]
    )

    assert "argon2id" in stored
    assert not [secret for secret in (PASSWORD, opened.session, browser_id, opened.csrf) if secret in stored]


def test_audit_trail_has_every_change_of_an_account_and_every_login(
    logged_in: LoggedIn, services: WorkerServices, sessions: Sessions
) -> None:
    opened = logged_in(Role.READER)
    accounts.change_role(services.sessions, "dr-7", Role.REVIEWER, by="admin")
    opened.post("/logout")
    accounts.change_password(services.sessions, "dr-7", password="another long password", by="admin")
    for _ in range(2):
        accounts.disable(services.sessions, "dr-7", by="admin")

    assert query(sessions, "SELECT actor, action FROM audit_event WHERE subject_kind = 'staff' ORDER BY position") == [
        ("test", "staff.added"),
        ("staff:dr-7", "staff.logged_in"),
        ("admin", "staff.role_changed"),
        ("staff:dr-7", "staff.logged_out"),
        ("admin", "staff.password_changed"),
        ("admin", "staff.disabled"),
    ]


@pytest.mark.parametrize("password", ["short", "dr-7 dr-7 dr-7", "aaaaaaaaaaaaaaaa", "x" * 129, "a\nlong password..."])
def test_password_is_refused_when_it_is_easy_to_guess(services: WorkerServices, password: str) -> None:
    with pytest.raises(UsageError) as raised:
        accounts.add(services.sessions, "dr-7", Role.READER, password=password, by="admin")
    assert password not in str(raised.value)


def test_every_answer_forbids_foreign_content_and_caching(logged_in: LoggedIn, browser: Any) -> None:
    opened = logged_in()
    for answer in (
        opened.get("/account"),
        browser().get("/account"),
        browser().get("/login"),
        opened.get("/staff"),
        opened.get("/no-such-page"),
        opened.post("/account"),
        opened.post("/login", origin="null"),
    ):
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src" not in policy
        assert "unsafe" not in policy
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert "<script" not in answer.text
        assert "style=" not in answer.text


def test_page_is_in_the_language_of_the_browser(browser: Callable[[], Browser]) -> None:
    assert '<html lang="es">' in browser().get("/login", **{"Accept-Language": "fr, es-MX;q=0.8, en;q=0.5"}).text
    assert '<html lang="en">' in browser().get("/login", **{"Accept-Language": "fr"}).text
