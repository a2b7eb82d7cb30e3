"""What `triage console --demo` does: drawn photos are scored, then the console is served until Ctrl-C."""

import secrets
import shutil
import signal
from collections.abc import Iterator
from typing import Final

from triage.domain.messages import IncomingAttachment, IncomingMessage
from triage.domain.staff import Role
from triage.staff import accounts
from worker.api.server import serve
from worker.cli.demo_photos import drawn_messages
from worker.cli.demonstration import demo_settings, live_model, worker_environment
from worker.cli.tables import Styled, print_line
from worker.cli.waiting import wait_until_done
from worker.console.app import PATH, create_console
from worker.embedded.stack import EmbeddedStack
from worker.services import open_services
from worker.settings import ApiSettings, RetakeSettings

ACCOUNT: Final = "demo"
_MARGIN: Final = 1.0
"""Every photo that fails goes to people, so that messages wait for them."""

_SECONDS: Final = 600


def run_console(port: int) -> None:
    """Starts the embedded services and a worker, sends drawn messages, and serves the console until it is stopped."""
    settings = demo_settings(
        "console-demo", retakes=RetakeSettings(uncertain_margin=_MARGIN), api=ApiSettings(port=port)
    )
    environment = worker_environment() | {"TRIAGE_RETAKES__UNCERTAIN_MARGIN": str(_MARGIN)}
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # SIGTERM stops the services in order, as Ctrl-C does
    with EmbeddedStack(settings.embedded, environment) as stack:
        stack.start_services()
        stack.recreate_database()
        stack.migrate()
        shutil.rmtree(settings.embedded.blobs, ignore_errors=True)
        settings.embedded.prepare()
        with open_services(settings) as services:
            live_model(services)
            stack.start_workers(["scoring", "intake"])
            print_line(Styled("up", "green"), "Postgres, Redis, scoring worker; drawn photos are being scored")
            services.intake.enqueue(list(_messages()))
            wait_until_done(services, None, timeout=_SECONDS)
            password = secrets.token_urlsafe(12)
            accounts.add(services.sessions, ACCOUNT, Role.ADMINISTRATOR, password=password, by="triage")
            serve(
                services,
                behind_proxy=False,
                parts={PATH: create_console},
                started=lambda url: _show(f"{url}{PATH}/", password),
            )
    print_line("everything stopped")


def _show(address: str, password: str) -> None:
    print_line(f"console:  {address}")
    print_line(f"account:  {ACCOUNT}")
    print_line(f"password: {password}")
    print_line("press Ctrl-C to stop everything")


def _messages() -> Iterator[IncomingMessage]:
    for name, photos in drawn_messages().items():
        yield IncomingMessage("demo", name, [IncomingAttachment(data=photo.data) for photo in photos])
    yield IncomingMessage("demo", "unreadable-file", [IncomingAttachment(data=b"\xff\xd8\xff\xe0 not a photo")])
