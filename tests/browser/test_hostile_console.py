"""The staff console in Chromium under attack: hostile text in all stored fields, sessions, roles, and two people."""

from collections.abc import Iterator

import psycopg
import psycopg.sql
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Dialog, Page, expect

from tests.browser.test_console import log_in
from tests.support.console_demo import ConsoleDemo
from triage.domain.staff import Role
from triage.staff import accounts
from triage.storage.database import Sessions

pytestmark = pytest.mark.long

EVIL = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>{{7*7}}"
PASSWORD = "correct horse battery staple"
SESSION = "triage-session"
RUN = "018f0000-0000-7000-8000-000000000001"

FIELDS = [
    ("thread", "external_id", "source"),
    ("message", "external_id", "source", "role", "locale"),
    ("attachment", "external_id", "photo_group", "declared_type", "media_type"),
    ("decision", "note"),
    ("request_review", "actor", "note"),
    ("retake_request", "claimed_by", "withdrawn_reason"),
    ("waiting_message", "source"),
    ("run", "error"),
    ("arrival", "source", "reference", "version"),
    ("delivery", "target"),
    ("photo_review", "name", "created_by"),
    ("photo_vote", "actor"),
]
"""Tables with their columns of text that others give and pages show."""

JSON = [
    ("model_version", "card", "{licence_notes}"),
    ("audit_event", "details", "{name}"),
    ("photo_review", "rule", "{source}"),
    ("retake_request", "reply", "{summary}"),
    ("run", "parameters", "{data}"),
]


@pytest.fixture
def context(chromium: Browser) -> Iterator[BrowserContext]:
    opened = chromium.new_context(viewport={"width": 1280, "height": 800})
    yield opened
    opened.close()


def log_in_as(page: Page, demo: ConsoleDemo, name: str) -> None:
    page.goto(demo.url)
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Messages that wait for a person")


def execute(database: str, *statements: str) -> None:
    """As a superuser, without triggers and foreign keys, so that no rule of the product helps."""
    with psycopg.connect(database.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")
        for statement in statements:
            connection.execute(statement.encode())


@pytest.mark.parametrize("role", [Role.READER, Role.REVIEWER, Role.MANAGER])
def test_role_is_refused_what_it_may_not_do(
    context: BrowserContext, demo: ConsoleDemo, demo_sessions: Sessions, role: Role
) -> None:
    accounts.add(demo_sessions, f"is-{role}", role, password=PASSWORD, by="test")
    page = context.new_page()
    log_in_as(page, demo, f"is-{role}")
    least = {"": 0, "reviews": 1, "models": 2, "deliveries": 2, "runs": 2, "reports": 2, "simulator": 2, "staff": 3}
    ranks = list(Role)
    for path, needed in least.items():
        response = page.goto(f"{demo.url}{path}")
        assert response is not None
        assert response.status == (200 if ranks.index(role) >= needed else 403), path
        expect(page.get_by_role("heading", level=1)).to_be_visible()


def test_quality_map_is_accessible_and_drawn(context: BrowserContext, demo: ConsoleDemo) -> None:
    problems: list[str] = []
    page = context.new_page()
    page.on("console", lambda message: problems.append(message.text))
    log_in(page, demo)
    page.locator("tbody a").first.click()
    page.wait_for_url("**/messages/**")
    page.goto(f"{page.url}?map=1")
    page.wait_for_load_state("load")
    assert Axe().run(page).violations_count == 0
    assert page.locator("img").evaluate_all("images => images.some(each => each.naturalWidth > 0)")
    assert [problem for problem in problems if "Failed to load resource" not in problem] == []


def test_session_id_of_an_attacker_is_replaced_at_login(context: BrowserContext, demo: ConsoleDemo) -> None:
    fixed = "a" * 43
    context.add_cookies([{"name": SESSION, "value": fixed, "url": demo.url}])
    page = context.new_page()
    log_in(page, demo)
    ids = {each["name"]: each["value"] for each in context.cookies()}
    assert ids[SESSION] != fixed

    context.clear_cookies()
    context.add_cookies([{"name": SESSION, "value": fixed, "url": demo.url}])
    page.goto(demo.url)
    expect(page.get_by_role("heading", level=1)).to_have_text("Log in")


def test_expired_session_leads_to_the_login_and_changes_nothing(
    context: BrowserContext, demo: ConsoleDemo, demo_database: str
) -> None:
    page = context.new_page()
    log_in(page, demo)
    execute(demo_database, "UPDATE staff_session SET seen_at = seen_at - interval '1 hour'")

    page.get_by_role("button", name="Take the oldest").click()

    expect(page.get_by_role("heading", level=1)).to_have_text("Log in")
    with psycopg.connect(demo_database.replace("+psycopg", "")) as connection:
        held = connection.execute("SELECT count(*) FROM waiting_message WHERE claimed_by IS NOT NULL").fetchone()
    assert held == (0,)


def test_second_person_is_refused_when_two_decide_the_same_message(
    chromium: Browser, demo: ConsoleDemo, demo_database: str, demo_sessions: Sessions
) -> None:
    pages = []
    for name in ("first", "second"):
        accounts.add(demo_sessions, name, Role.MANAGER, password=PASSWORD, by="test")
        page = chromium.new_context().new_page()
        log_in_as(page, demo, name)
        pages.append(page)
    first, second = pages
    first.get_by_role("button", name="Take the oldest").dblclick()
    expect(first.get_by_role("heading", name="Decide")).to_be_visible()
    with psycopg.connect(demo_database.replace("+psycopg", "")) as connection:
        held = connection.execute("SELECT count(*) FROM waiting_message WHERE claimed_by = 'staff:first'").fetchone()
    assert held == (1,)
    second.goto(first.url)
    expect(second.get_by_text("first").first).to_be_visible()
    assert second.locator("button.main.pass").count() == 0

    first.get_by_label("Why are they good enough?").select_option(index=1)
    first.locator("button.main.pass").click()
    expect(first.get_by_role("status")).to_contain_text("Decided: pass")
    second.goto(first.url.partition("?")[0])
    expect(second.get_by_text("first").first).to_be_visible()
    for page in pages:
        page.context.close()


def test_hostile_text_of_any_stored_field_is_shown_as_text(
    context: BrowserContext, demo: ConsoleDemo, demo_database: str
) -> None:
    """The last test of this demo, whose rows it spoils."""
    problems: list[str] = []

    def note_dialog(dialog: Dialog) -> None:
        problems.append(dialog.message)
        dialog.dismiss()

    page = context.new_page()
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("dialog", note_dialog)
    log_in(page, demo)
    origin = demo.url.removesuffix("/console/")
    page.goto(f"{demo.url}simulator?threshold=0.3")
    page.get_by_label("Save as a proposal, name").fill("hostile")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Proposal hostile")
    page.goto(f"{demo.url}reviews")
    page.get_by_label("Name", exact=True).fill("hostile")
    page.get_by_label("Number of photos").fill("3")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("hostile")
    review = page.url
    page.get_by_role("button", name="Vote on the next photo").click()
    page.get_by_role("button", name="Good enough").first.click()
    expect(page.get_by_text("1 of 3 photos")).to_be_visible()
    page.goto(demo.url)
    page.get_by_role("button", name="Take the oldest").click()
    page.get_by_label("Why are new photos needed?").select_option("too_dark")
    page.get_by_role("button", name="Preview the request").click()
    page.get_by_role("button", name="Request new photos").click()
    page.get_by_label("Why the request was needless").fill("sharp")
    page.get_by_role("button", name="Appeal").click()
    expect(page.get_by_role("heading", name="Appeals")).to_be_visible()
    message = page.url.partition("?")[0]
    photo = f"{origin}{page.locator('.photos a').first.get_attribute('href')}"
    page.goto(f"{demo.url}models")
    model = f"{origin}{page.locator('tbody a').first.get_attribute('href')}"
    hostile = psycopg.sql.Literal(EVIL).as_string()
    execute(
        demo_database,
        "INSERT INTO delivery (id, target, kind, message_id, subject_id, status, finished_at) "
        "SELECT gen_random_uuid(), 't', 'message.decided', id, id, 'dead', now() FROM message LIMIT 1",
        "INSERT INTO arrival (id, source, reference, status, error, finished_at) "
        "VALUES (gen_random_uuid(), 's', 'r', 'dead', 'malformed', now())",
        "INSERT INTO run (id, kind, status, parameters, error) "
        f"VALUES ('{RUN}', 'training', 'failed', jsonb_build_object('name', {hostile}), 'e')",
        f"INSERT INTO staff (id, name, role, password_hash) VALUES (gen_random_uuid(), {hostile}, 'reviewer', 'x')",
        *(
            f"UPDATE {table} SET "
            + ", ".join(f"{name} = {hostile} || substr(md5(random()::text), 1, 8)" for name in columns)
            for table, *columns in FIELDS
        ),
        *(
            f"UPDATE {table} SET {column} = jsonb_set({column}, '{path}', to_jsonb({hostile}::text)) "
            f"WHERE {column} #> '{path}' IS NOT NULL"
            for table, column, path in JSON
        ),
    )
    names = ("", "?state=appealed", "account", "staff", "models", "deliveries", "runs", "drift", "reports", "simulator")
    addresses = [f"{demo.url}{name}" for name in (*names, "reviews")]
    shown = ("staff", "deliveries", "runs", "simulator", "reviews")
    run = f"{demo.url}runs/{RUN}"
    for address in (*addresses, message, f"{message}?map=1", photo, review, model, f"{model}/promote", run):
        response = page.goto(address)
        assert response is not None
        assert response.status == 200, address
        assert page.locator("script, img[src=x], [onerror]").count() == 0, address
        if address in {*addresses[:2], *(f"{demo.url}{name}" for name in shown), message, review, model, run}:
            expect(page.locator("body")).to_contain_text("<script>alert(1)</script>")
    assert [problem for problem in problems if "Failed to load resource" not in problem] == []

    short = "'><img src=x onerror=alert(1)>{{7*7}}"  # an address cannot have a slash in this place
    literal = psycopg.sql.Literal(short).as_string()
    execute(
        demo_database,
        f"UPDATE audit_event SET details = jsonb_set(details, '{{name}}', to_jsonb({literal}::text))",
        f"UPDATE model_version SET name = {literal}, card = jsonb_set(card, '{{name}}', to_jsonb({literal}::text)) "
        "WHERE stage = 'live'",
    )
    page.goto(f"{demo.url}simulator")
    page.get_by_role("link", name=short).click()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Proposal {short}")
    for address in (page.url, f"{demo.url}models", f"{model}/promote", message):
        page.goto(address)
        assert page.locator("script, img[src=x], [onerror]").count() == 0, address
        expect(page.locator("body")).to_contain_text(short)
    assert [problem for problem in problems if "Failed to load resource" not in problem] == []
