"""Photo reviews in Chromium: by single keys, by keyboard without scripts, accessible, and within the policy."""

from typing import Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.browser.test_console import log_in, press
from tests.support.console_demo import ConsoleDemo

pytestmark = pytest.mark.long

ANSWERS = "Failed to load resource"  # the console has no icon
QUESTION = "Is this photo good enough for the chart?"


def create(page: Page, demo: ConsoleDemo, name: str, *, size: int = 5, second: int = 0) -> None:
    page.goto(f"{demo.url}reviews")
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_label("Number of photos").fill(str(size))
    page.get_by_label("With one vote: second reviewer, share in %").fill(str(second))
    page.get_by_label("With one vote: second reviewer up to this distance").fill("0")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text(name)


def test_person_votes_by_single_keys(chromium: Browser, demo: ConsoleDemo) -> None:
    problems: list[str] = []
    context = chromium.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    log_in(page, demo)
    create(page, demo, "by-keys")
    page.get_by_role("button", name="Vote on the next photo").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(QUESTION)
    image = page.locator(".vote img")
    page.wait_for_load_state("load")
    assert image.evaluate("image => image.complete && image.naturalWidth > 0")

    page.keyboard.press("m")
    page.keyboard.press("D")
    expect(page.get_by_label("motion blur")).to_be_checked()
    expect(page.get_by_label("too dark")).to_be_checked()
    page.keyboard.press("d")
    expect(page.get_by_label("too dark")).not_to_be_checked()
    first = image.get_attribute("src")
    page.keyboard.press("n")
    expect(page.get_by_text("1 of 5 photos")).to_be_visible()
    expect(page.get_by_label("motion blur")).not_to_be_checked()
    page.keyboard.press("y")
    expect(page.get_by_text("2 of 5 photos")).to_be_visible()
    page.keyboard.press("u")
    expect(page.get_by_text("1 of 5 photos")).to_be_visible()
    page.keyboard.press("u")
    expect(page.get_by_text("0 of 5 photos")).to_be_visible()
    assert image.get_attribute("src") == first
    page.keyboard.press("s")
    expect(page.locator(f'.vote img:not([src="{first}"])')).to_be_visible()
    page.wait_for_load_state("load")  # the page has no words that say that it is the next one
    for voted in range(1, 5):
        page.keyboard.press("y")
        expect(page.get_by_text(f"{voted} of 5 photos")).to_be_visible()
    assert image.get_attribute("src") == first  # the skipped one
    page.keyboard.press("y")
    expect(page.get_by_text("No photo waits for your vote now.")).to_be_visible()
    assert [problem for problem in problems if not problem.startswith(ANSWERS)] == []
    context.close()


def test_person_votes_by_keyboard_without_scripts(chromium: Browser, demo: ConsoleDemo) -> None:
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    log_in(page, demo)
    create(page, demo, "without-scripts", size=2)
    press(page, "Vote on the next photo")
    expect(page.get_by_role("heading", level=1)).to_have_text(QUESTION)
    page.get_by_label("out of focus").focus()
    page.keyboard.press("Space")
    page.keyboard.press("Enter")  # in a reason: the vote that the reasons belong to
    expect(page.get_by_text("1 of 2 photos")).to_be_visible()
    press(page, "Y Good enough")
    expect(page.get_by_text("No photo waits for your vote now.")).to_be_visible()
    press(page, "Undo my last vote")
    expect(page.get_by_text("1 of 2 photos")).to_be_visible()
    press(page, "Y Good enough")
    press(page, "Close the review")
    expect(page.get_by_text("closed", exact=True)).to_be_visible()
    expect(page.get_by_role("heading", name="Agreement")).to_be_visible()
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("locale", ["en", "es"])
def test_pages_are_accessible_and_keep_the_policy(
    chromium: Browser, demo: ConsoleDemo, scheme: str, locale: str
) -> None:
    problems: list[str] = []
    chosen: Literal["dark", "light"] = "dark" if scheme == "dark" else "light"
    context = chromium.new_context(viewport={"width": 1280, "height": 800}, color_scheme=chosen, locale="en")
    page = context.new_page()
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    log_in(page, demo)
    create(page, demo, f"accessible-{scheme}-{locale}", size=3, second=100)
    review = page.url
    page.get_by_role("button", name="Vote on the next photo").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(QUESTION)
    vote = page.url
    context.set_extra_http_headers({"Accept-Language": locale})
    for width, height in ((1280, 800), (768, 1024)):
        page.set_viewport_size({"width": width, "height": height})
        for address in (f"{demo.url}reviews", review, vote, f"{demo.url}?state=appealed"):
            page.goto(address)
            results = Axe().run(page)
            assert results.violations_count == 0, results.generate_report()
            too_wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            assert too_wide <= 0, f"{address} is wider than the window"
    assert [problem for problem in problems if not problem.startswith(ANSWERS)] == []
    context.close()
