"""Writes the pictures of docs/console/: the pages of the staff console on drawn photos, in Debian's Chromium.

.venv/bin/python -m recipes.console_pictures
"""

from pathlib import Path
from typing import Final

import psycopg
from playwright.sync_api import Page, sync_playwright

from tests.support.console_demo import ConsoleDemo, console_demo
from worker.state_folder import StateFolder

CHROMIUM: Final = "/usr/bin/chromium"
_FINDINGS: Final = """
SELECT verdict.findings FROM reviewed_photo JOIN verdict USING (attachment_id) WHERE reviewed_photo.id = %s
"""
_CERTAIN: Final = 0.9
FOLDER: Final = Path(__file__).parents[1] / "docs" / "console"


def main() -> None:
    """Starts the demo, and takes a picture of each page."""
    FOLDER.mkdir(exist_ok=True)
    with console_demo(CONSOLE__TIME_ZONE="America/New_York") as demo, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        take_pictures(browser.new_page(viewport={"width": 1280, "height": 800}), demo)
        browser.close()


def take_pictures(page: Page, demo: ConsoleDemo) -> None:
    """Goes through the pages as a reviewer does."""
    page.goto(demo.url)
    _take(page, "login")
    page.get_by_label("Name").fill(demo.name)
    page.get_by_label("Password").fill(demo.password)
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Take the oldest").wait_for()
    _take(page, "queue")
    page.get_by_role("button", name="Take the oldest").click()
    page.get_by_role("heading", name="Decide").wait_for()
    _take(page, "message")
    page.get_by_label("Why are new photos needed?").select_option("too_dark")
    page.get_by_role("button", name="Preview the request").click()
    page.get_by_role("heading", name="What the patient gets").wait_for()
    _take(page, "request")
    page.go_back()
    page.locator(".photos a").first.click()
    page.locator(".full img").wait_for()
    _take(page, "photo")
    page.get_by_role("link", name="Show where the quality is low").click()
    page.locator(".map").wait_for()
    _take(page, "map")
    page.goto(f"{demo.url}simulator?threshold=0.40&unmoved=0.78")
    _take(page, "simulator")
    page.goto(f"{demo.url}models")
    _take(page, "models")
    page.goto(f"{demo.url}reports")
    _take(page, "report")
    page.goto(f"{demo.url}reviews")
    page.get_by_label("Name", exact=True).fill("spring-1")
    page.get_by_label("Number of photos").fill("20")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Vote on the next photo").click()
    page.locator(".vote img").wait_for()
    while not _is_blurred(page, demo):  # the demo has such a photo
        with page.expect_navigation():
            page.keyboard.press("s")
    page.keyboard.press("f")
    _take(page, "vote")
    page.goto(f"{demo.url}staff")
    _take(page, "accounts")


def _is_blurred(page: Page, demo: ConsoleDemo) -> bool:
    """Whether the photo to vote on is out of focus and nothing else, so that the picture ticks a reason that fits."""
    url = StateFolder(demo.output.parent / "console-demo").database_url()
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        row = connection.execute(_FINDINGS, [page.url.rpartition("/")[2]]).fetchone()
    match row:
        case [[{"kind": "defocus", "probability": float(probability)}]]:
            return probability > _CERTAIN
    return False


def _take(page: Page, name: str) -> None:
    page.wait_for_load_state("networkidle")
    page.screenshot(path=FOLDER / f"{name}.png", full_page=name == "message")


if __name__ == "__main__":
    main()
