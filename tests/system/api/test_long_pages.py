"""Pages of the console that read months of rows, on a real server: they take turns, and the line has an end."""

import re
import select
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import httpx2
import psycopg
import pytest

from tests.support.deployment import eventually
from tests.support.served import Served
from triage.domain.staff import Role
from triage.staff import accounts
from worker.state_folder import StateFolder

PASSWORD = "correct horse battery staple"
WAITING = 5
"""Pages that may wait."""


@pytest.fixture(scope="module")
def served(serve: Callable[..., Any]) -> Iterator[Served]:
    with serve() as served:
        yield served


def log_in(served: Served) -> httpx2.Client:
    accounts.add(served.services.sessions, "head-1", Role.MANAGER, password=PASSWORD, by="test")
    browser = served.client()
    form = {"name": "head-1", "password": PASSWORD}
    assert browser.post("/console/login", data=form, headers={"Origin": str(browser.base_url)}).has_redirect_location
    return browser


def metric(browser: httpx2.Client, name: str) -> float:
    """The value of a metric of the server; 0 without one."""
    found = re.search(rf"^{re.escape(name)} (.+)$", browser.get("/metrics").text, re.MULTILINE)
    return float(found[1]) if found else 0


def read_page(connection: socket.socket) -> str:
    """An answer with its whole page, which may come in several parts."""
    received = b""
    while b"</html>" not in received and (part := connection.recv(65536)):
        received += part
    return received.decode()


def test_page_is_refused_when_the_line_is_full_and_left_out_when_its_browser_is_gone(
    embedded: StateFolder, served: Served
) -> None:
    reports = 'triage_http_requests_total{{endpoint="console_show_report",status="{}"}}'
    with closing(log_in(served)) as browser:
        cookies = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
        lines = ("GET /console/reports HTTP/1.1", "Host: a", f"Cookie: {cookies}", "Accept-Language: es", "\r\n")

        def ask() -> socket.socket:
            connection = socket.create_connection(("127.0.0.1", served.port), timeout=60)
            connection.sendall("\r\n".join(lines).encode())
            return connection

        url = embedded.database_url(served.services.engine.url.database or "").replace("+psycopg", "")
        with psycopg.connect(url) as holder:
            holder.execute("LOCK TABLE archived_count")  # which a report reads
            first = ask()
            eventually(lambda: holder.execute("SELECT 1 FROM pg_locks WHERE NOT granted").fetchone())
            waiting = [ask() for _ in range(WAITING + 1)]
            [refused], _, _ = select.select(waiting, [], [], 60)
            answer = read_page(refused)
            assert answer.startswith("HTTP/1.1 429 ")
            assert "retry-after: 30\r\n" in answer
            assert "demasiadas páginas largas" in answer
            assert browser.get("/console/").status_code == 200
            waiting.remove(refused)
            for gone in waiting[1:]:
                gone.close()

        assert [connection.recv(12) for connection in (first, waiting[0])] == [b"HTTP/1.1 200"] * 2
        eventually(lambda: metric(browser, reports.format(499)) == WAITING - 1)
        assert metric(browser, reports.format(200)) == 2
        for connection in (first, waiting[0], refused):
            connection.close()
