"""Chromium, and a console on drawn photos for the tests of one module."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.support.console_demo import ConsoleDemo, console_demo
from tests.support.login_provider import Provider
from triage.storage.database import Sessions, create_database_engine, create_sessions
from worker.state_folder import StateFolder

CHROMIUM = Path("/usr/bin/chromium")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    if not CHROMIUM.exists():
        pytest.skip("Chromium is not installed: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def identity_provider() -> Iterator[Provider]:
    made = Provider()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def demo(chromium: Browser, identity_provider: Provider) -> Iterator[ConsoleDemo]:
    """A console that also trusts the provider."""
    with console_demo(
        CONSOLE__ISSUER=identity_provider.url,
        CONSOLE__CLIENT_ID=identity_provider.CLIENT,
        CONSOLE__CLIENT_SECRET=identity_provider.SECRET,
    ) as started:
        yield started


@pytest.fixture(scope="module")
def demo_database(demo: ConsoleDemo) -> str:
    """The URL of the demo's database."""
    return StateFolder(demo.output.parent / "console-demo").database_url()


@pytest.fixture(scope="module")
def demo_sessions(demo_database: str) -> Iterator[Sessions]:
    engine = create_database_engine(demo_database)
    yield create_sessions(engine)
    engine.dispose()
