"""The staff console over this test's services, and browsers that use it."""

import re
from collections.abc import Callable
from dataclasses import dataclass

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from triage.domain.staff import Role
from triage.staff import accounts
from worker.api.app import create_app
from worker.console.app import PATH, create_console
from worker.tasks.base import WorkerServices

ORIGIN = "http://127.0.0.1:8080"
PASSWORD = "correct horse battery staple"

_TOKEN = re.compile(r'name="csrf" value="([0-9a-f]*)"')


@dataclass
class Browser:
    """A browser with its own cookies. It fills in the hidden fields of the forms of the last page."""

    client: TestClient
    csrf: str = ""

    def get(self, path: str, **headers: str) -> httpx2.Response:
        return self._keep(self.client.get(f"{PATH}{path}", headers=headers))

    def post(self, path: str, *, origin: str | None = ORIGIN, **fields: str) -> httpx2.Response:
        headers = {} if origin is None else {"Origin": origin}
        return self._keep(self.client.post(f"{PATH}{path}", data={"csrf": self.csrf} | fields, headers=headers))

    def log_in(self, name: str, password: str = PASSWORD) -> httpx2.Response:
        response = self.post("/login", name=name, password=password)
        if response.status_code == 303:
            self.get("/account")
        return response

    @property
    def session(self) -> str:
        return self.client.cookies["triage-session"]

    def _keep(self, response: httpx2.Response) -> httpx2.Response:
        if token := _TOKEN.search(response.text):
            self.csrf = token[1]
        return response


@pytest.fixture
def console(services: WorkerServices) -> Starlette:
    return create_app(services, ORIGIN, {PATH: create_console})


@pytest.fixture
def browser(console: Starlette) -> Callable[[], Browser]:
    """Opens a browser without cookies."""
    return lambda: Browser(TestClient(console, base_url=ORIGIN, follow_redirects=False, raise_server_exceptions=False))


@pytest.fixture
def logged_in(browser: Callable[[], Browser], services: WorkerServices) -> Callable[..., Browser]:
    """Adds an account with this role and logs it in."""

    def open_browser(role: Role = Role.REVIEWER, name: str = "dr-7") -> Browser:
        accounts.add(services.sessions, name, role, password=PASSWORD, by="test")
        opened = browser()
        assert opened.log_in(name).status_code == 303
        return opened

    return open_browser
