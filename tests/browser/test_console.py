"""The staff console in Chromium: by keyboard, without scripts, accessible, and without a violation of its policy."""

import re
from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Locator, Page, Route, expect

from tests.support.console_demo import ConsoleDemo
from tests.support.login_provider import Provider

pytestmark = pytest.mark.long


@pytest.fixture(params=["light", "dark"])
def context(request: pytest.FixtureRequest, chromium: Browser) -> Iterator[BrowserContext]:
    opened = chromium.new_context(
        viewport={"width": 1280, "height": 800}, color_scheme=request.param, java_script_enabled=True
    )
    yield opened
    opened.close()


def log_in(page: Page, demo: ConsoleDemo) -> None:
    page.goto(demo.url)
    page.get_by_label("Name").fill(demo.name)
    page.get_by_label("Password").fill(demo.password)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Messages that wait for a person")


def tab_to(page: Page, wanted: Locator) -> None:
    """Moves to an element by the keyboard."""
    for _ in range(80):
        page.keyboard.press("Tab")
        if wanted.and_(page.locator(":focus")).count():
            return
    raise AssertionError(f"the keyboard does not reach {wanted}")


def press(page: Page, text: str) -> None:
    """Moves to a button or link by the keyboard and presses it."""
    tab_to(page, page.locator("a, button").filter(has_text=re.compile(rf"^\s*{re.escape(text)}\s*$")))
    page.keyboard.press("Enter")


def test_pages_are_accessible_and_keep_the_policy(context: BrowserContext, demo: ConsoleDemo) -> None:
    problems: list[str] = []
    page = context.new_page()
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))

    def check(address: str) -> None:
        page.goto(address)
        results = Axe().run(page)
        assert results.violations_count == 0, results.generate_report()
        width = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert width <= 0, f"{address} is wider than the window"

    check(f"{demo.url}login")
    log_in(page, demo)
    message = page.locator("tbody a").first.get_attribute("href")
    origin = demo.url.removesuffix("/console/")
    page.goto(f"{demo.url}models")
    model = f"{origin}{page.locator('tbody a').first.get_attribute('href')}"
    pages = [demo.url, f"{demo.url}?reason=cooldown", f"{origin}{message}", model, f"{model}/promote"]
    names = (
        "account",
        "staff",
        "models",
        "deliveries",
        "runs",
        "drift",
        "nowhere",
        "reports?compare=1",
        "simulator?threshold=0.3",
    )
    pages += [f"{demo.url}{name}" for name in names]
    for address in pages:
        check(address)
    page.goto(f"{origin}{message}")
    assert page.locator(".photos img").evaluate_all("images => images.every(each => each.naturalWidth > 0)")
    check(f"{origin}{page.locator('.photos a').first.get_attribute('href')}")
    for width, height in ((768, 1024), (390, 844)):
        page.set_viewport_size({"width": width, "height": height})
        for address in pages:
            check(address)
    answers = "Failed to load resource"  # the console has no icon, and the damaged photo is drawn with status 422
    assert [problem for problem in problems if not problem.startswith(answers)] == []


def test_person_decides_by_keyboard_without_scripts(chromium: Browser, demo: ConsoleDemo) -> None:
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    log_in(page, demo)
    assert page.locator("script").count() == 0

    press(page, "Take the oldest")
    expect(page.get_by_role("heading", name="Decide")).to_be_visible()
    name = page.get_by_role("heading", level=1).inner_text().removeprefix("Message ")
    press(page, "Preview the request")
    expect(page.get_by_role("heading", name="Decide")).to_be_visible()  # a reason is required
    tab_to(page, page.locator("#ground-retake"))
    page.keyboard.press("ArrowDown")
    press(page, "Preview the request")
    expect(page.get_by_role("heading", name="What the patient gets")).to_be_visible()
    press(page, "Request new photos")
    expect(page.get_by_role("status")).to_contain_text("Decided: retake")
    expect(page.get_by_text("Request to the patient: not yet collected")).to_be_visible()

    press(page, "Undo the decision")
    expect(page.get_by_text("Request to the patient: withdrawn")).to_be_visible()
    page.goto(demo.url)
    expect(page.get_by_role("link", name=name, exact=True)).to_be_visible()
    press(page, "Log out")
    expect(page.get_by_role("heading", level=1)).to_have_text("Log in")
    context.close()


def test_threshold_is_simulated_and_saved_with_the_slider_without_scripts(chromium: Browser, demo: ConsoleDemo) -> None:
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    log_in(page, demo)
    page.goto(f"{demo.url}simulator")

    page.locator("#threshold").focus()
    for _ in range(5):
        page.keyboard.press("ArrowLeft")
    press(page, "Simulate")
    expect(page.get_by_role("heading", name="What it would have meant")).to_be_visible()
    page.get_by_label("Save as a proposal, name").fill("lower")
    press(page, "Save")
    expect(page.get_by_role("heading", level=1)).to_have_text("Proposal lower")
    context.close()


def test_person_logs_in_by_the_identity_provider_without_scripts(
    chromium: Browser, demo: ConsoleDemo, identity_provider: Provider
) -> None:
    def send_back(route: Route) -> None:
        query = identity_provider.log_in(route.request.url, sub="p-1", preferred_username="m.garcia", roles=["reader"])
        route.fulfill(status=302, headers={"Location": f"{demo.url}login/callback?{query}"})

    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.route(f"{identity_provider.url}/authorize**", send_back)
    page.goto(demo.url)

    press(page, "Log in with your hospital account")

    expect(page.get_by_role("heading", level=1)).to_have_text("Messages that wait for a person")
    press(page, "m.garcia")
    expect(page.get_by_text("Reader", exact=True)).to_be_visible()
    context.close()


def test_cookies_are_hidden_from_scripts(chromium: Browser, demo: ConsoleDemo) -> None:
    context = chromium.new_context()
    page = context.new_page()
    log_in(page, demo)

    assert page.evaluate("document.cookie") == ""
    assert {(each["name"], each["httpOnly"], each["sameSite"]) for each in context.cookies()} == {
        ("triage-session", True, "Lax"),
        ("triage-browser", True, "Lax"),
    }
    context.close()


def test_console_is_in_spanish_when_the_browser_is(chromium: Browser, demo: ConsoleDemo) -> None:
    context = chromium.new_context(locale="es-MX")
    page = context.new_page()
    page.goto(demo.url)
    expect(page.get_by_role("heading", level=1)).to_have_text("Iniciar sesión")
    context.close()
