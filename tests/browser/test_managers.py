"""What managers do in Chromium, by keyboard and without scripts; and a photo that crashes the decoder."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.browser.test_console import log_in, press, tab_to
from tests.browser.test_hostile_console import execute, log_in_as
from tests.support.console_demo import ConsoleDemo
from triage.domain.staff import Role
from triage.staff import accounts
from triage.storage.database import Sessions

pytestmark = pytest.mark.long

NAME, PASSWORD = "head-1", "correct horse battery staple"
NEWER = """
INSERT INTO model_version (id, name, version, weights_sha256, card, stage)
SELECT gen_random_uuid(), 'newer', 1, repeat('1', 64),
       card || jsonb_build_object('name', 'newer', 'weights_sha256', repeat('1', 64)), 'candidate'
FROM model_version WHERE stage = 'live'
"""
DEAD = """
INSERT INTO delivery (id, target, kind, message_id, subject_id, status, finished_at)
SELECT gen_random_uuid(), 'nobody', 'message.decided', id, id, 'dead', now() FROM message LIMIT 2
"""
DONE_RUN = """
INSERT INTO run (id, kind, status, parameters, error, finished_at)
VALUES (gen_random_uuid(), 'training', 'failed', '{}', 'no photo of the manifest can be read', now())
"""


@pytest.fixture(scope="module")
def manager(chromium: Browser, demo: ConsoleDemo, demo_sessions: Sessions) -> Iterator[Page]:
    """A manager without scripts."""
    accounts.add(demo_sessions, NAME, Role.MANAGER, password=PASSWORD, by="test")
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    log_in_as(page, demo, NAME)
    yield page
    context.close()


def test_manager_promotes_and_rolls_back_by_keyboard(manager: Page, demo_database: str) -> None:
    execute(demo_database, NEWER)
    press(manager, "Models")
    live = manager.locator("tbody tr", has_text="live").locator("th").inner_text()

    press(manager, "newer")
    press(manager, "Make it live")
    expect(manager.get_by_role("heading", name="Expected change, from the last 30 days")).to_be_visible()
    press(manager, "Make newer live")
    expect(manager.get_by_role("status")).to_have_text("newer is live.")

    press(manager, f"Roll back to {live}")
    expect(manager.get_by_role("heading", level=1)).to_have_text("Return to the model before?")
    press(manager, "Change nothing")
    press(manager, f"Roll back to {live}")
    press(manager, f"Return to {live}")
    expect(manager.get_by_role("status")).to_have_text(f"{live} is live.")


def test_manager_applies_a_proposal_by_keyboard(manager: Page) -> None:
    press(manager, "Simulator")
    press(manager, "Simulate")
    expect(manager.get_by_text("Nothing is changed.")).to_be_visible()
    manager.get_by_label("Exact score, instead of the slider").fill("0.5")
    manager.keyboard.press("Enter")
    expect(manager.get_by_role("heading", name="What it would have meant")).to_be_visible()
    manager.get_by_label("Save as a proposal, name").fill("half")
    manager.keyboard.press("Enter")
    expect(manager.get_by_role("heading", level=1)).to_have_text("Proposal half")

    press(manager, "Give the live model these thresholds")

    expect(manager.get_by_text("Applied", exact=True)).to_be_visible()
    expect(manager.get_by_role("status")).to_be_visible()
    press(manager, "Models")
    expect(manager.locator("tbody tr", has_text="live").get_by_text("0.500")).to_be_visible()


def test_manager_retries_and_follows_runs_by_keyboard(manager: Page, demo_database: str) -> None:
    execute(demo_database, DEAD, DONE_RUN)

    press(manager, "Deliveries")
    press(manager, "Retry all dead events")
    expect(manager.get_by_role("status")).to_contain_text("Made due again: 2.")

    press(manager, "Runs")
    press(manager, manager.locator("tbody a").first.inner_text())
    expect(manager.get_by_text("no photo of the manifest can be read")).to_be_visible()
    press(manager, "Drift")
    expect(manager.get_by_role("heading", level=1)).to_have_text("Drift of photos")
    press(manager, "Report")
    press(manager, "Show")
    expect(manager.get_by_role("heading", level=1)).to_have_text("Report")


def test_pages_that_change_something_are_accessible(chromium: Browser, demo: ConsoleDemo) -> None:
    """They exist once the tests above have made what they show."""
    context = chromium.new_context()
    page = context.new_page()
    log_in(page, demo)
    page.goto(f"{demo.url}runs")
    run = page.locator("tbody a").first.get_attribute("href")
    for address in (f"{demo.url}rollback", f"{demo.url}proposals/half", f"{demo.url.removesuffix('/console/')}{run}"):
        page.goto(address)
        results = Axe().run(page)
        assert results.violations_count == 0, results.generate_report()
    context.close()


def test_administrator_ends_sessions_by_keyboard(chromium: Browser, manager: Page, demo: ConsoleDemo) -> None:
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    log_in(page, demo)
    press(page, "Accounts")
    tab_to(page, page.get_by_role("button", name=f"End the sessions of {NAME}"))
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Accounts")
    press(page, "demo")
    expect(page.get_by_role("heading", level=1)).to_have_text("Your account")
    context.close()

    manager.reload()
    expect(manager.get_by_role("heading", level=1)).to_have_text("Log in")


def test_page_says_so_and_the_console_lives_on_when_a_photo_crashes_the_decoder(
    chromium: Browser, demo: ConsoleDemo
) -> None:
    context = chromium.new_context()
    page = context.new_page()
    log_in(page, demo)
    page.get_by_role("link", name="message-4").click()
    page.wait_for_load_state("networkidle")  # a decoder has started
    photo = page.locator(".photos a").first.get_attribute("href")
    address = f"{demo.url.removesuffix('/console/')}{photo}"

    stopped = decoders(demo.process.pid)
    assert stopped
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    with page.expect_response("**/full.jpg") as answer:
        page.goto(address, wait_until="commit")
        expect(page.get_by_role("heading", level=1)).to_have_text("Photo 1")
        for pid in stopped:
            os.kill(pid, signal.SIGKILL)

    assert (answer.value.status, "the file crashed the decoder" in answer.value.text()) == (422, True)
    for _ in stopped:  # each of them may have been idle, and is noticed and replaced when a photo comes
        page.reload()
        page.wait_for_load_state("networkidle")
    assert page.locator(".full img").evaluate("image => image.naturalWidth") > 480
    context.close()


def decoders(ancestor: int) -> list[int]:
    """The decoder processes below a process."""
    below, found = {ancestor}, []
    for stat in sorted(Path("/proc").glob("[0-9]*/stat"), key=lambda path: int(path.parent.name)):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            command = (stat.parent / "cmdline").read_bytes()
        except OSError:  # it has ended
            continue
        if parent in below:
            below.add(int(stat.parent.name))
            found += [int(stat.parent.name)] * (b"triage.imaging.decoder_process" in command)
    return found
