"""The console as an application that `triage serve` serves under `/console`."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from importlib.resources import files
from typing import Final
from urllib.parse import urlsplit

import anyio
import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from triage.domain.clients import is_loopback
from triage.errors import TriageError
from worker.api.shared import Shared
from worker.codes import Code
from worker.console.accounts import ACCOUNT_PAGES
from worker.console.door import Door, failure, of_session, with_headers
from worker.console.login import LOGIN_PAGES
from worker.console.messages import MESSAGE_PAGES
from worker.console.models import MODEL_PAGES
from worker.console.oidc import CALLBACK, LoginProvider
from worker.console.operations import OPERATION_PAGES
from worker.console.page import PATH, Console, Page, Pages, Visit
from worker.console.photo_reviews import REVIEW_PAGES
from worker.console.queue import QUEUE_PAGES
from worker.console.reports import REPORT_PAGES
from worker.console.simulator import SIMULATOR_PAGES
from worker.console.texts import LANGUAGES, load_texts, texts_for

__all__ = ["PAGES", "PATH", "create_console"]

log = structlog.get_logger(__name__)

_SUBJECTS: Final[Sequence[Pages]] = (
    LOGIN_PAGES,
    QUEUE_PAGES,
    MESSAGE_PAGES,
    REPORT_PAGES,
    SIMULATOR_PAGES,
    REVIEW_PAGES,
    MODEL_PAGES,
    OPERATION_PAGES,
    ACCOUNT_PAGES,
)
PAGES: Final[Sequence[Page]] = [page for subject in _SUBJECTS for page in subject.declared]
"""All pages. A new subject is added above."""

_LOOPBACKS: Final = ("127.0.0.1", "localhost", "[::1]")
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_LOGINS: Final = 4
_STATIC: Final = {"console.css": "text/css", "vote.js": "text/javascript"}
"""The static files, with their media types."""


def create_console(shared: Shared) -> ASGIApp | None:
    """Makes the application; None if the settings turn it off, or if browsers cannot reach it safely.

    Args:
        shared: of the HTTP interface.
    """
    services = shared.services
    settings, parts = services.settings.console, urlsplit(shared.base_url)
    if not settings.enabled:
        return None
    if parts.scheme != "https" and not is_loopback(parts.hostname or ""):
        log.warning("console.left_out", kind="no_public_url")  # a proxy terminates TLS: its URL is not known
        return None
    provider = LoginProvider(settings, f"{shared.base_url}{PATH}{CALLBACK}") if settings.issuer else None
    console = Console(
        shared,
        _origins(shared.base_url),
        parts.scheme == "https",
        provider,
        logins=anyio.CapacityLimiter(_LOGINS),
        maps=anyio.CapacityLimiter(1),
        heavy=anyio.CapacityLimiter(1),
    )
    _ = (
        services.photo_views,
        services.quality_maps,
        services.registry,
    )  # made at once, because requests run in several threads
    for language in LANGUAGES:
        load_texts(language)

    async def refuse(request: Request, error: Exception) -> Response:
        is_method = isinstance(error, HTTPException) and error.status_code == 405
        visit = Visit(console, request, texts_for(request.headers.get("accept-language")))
        with suppress(TriageError):  # without the database, the page lacks the navigation
            visit = await of_session(visit)
        return with_headers(
            failure(visit, Code.METHOD_NOT_ALLOWED if is_method else Code.NOT_FOUND), secure=console.secure
        )

    app = Starlette(
        routes=[
            *(Route(f"/{name}", _static(name, console)) for name in _STATIC),
            *(Route(page.path, Door(page, console), methods=[page.method]) for page in PAGES),
        ],
        exception_handlers={HTTPException: refuse},
    )
    app.router.redirect_slashes = False
    return app


def _static(name: str, console: Console) -> Callable[[Request], Awaitable[Response]]:
    """The endpoint of a static file."""
    content = (files(__package__) / "static" / name).read_bytes()

    async def send(_: Request) -> Response:
        response = Response(content, media_type=_STATIC[name], headers={"Cache-Control": "max-age=3600"})
        return with_headers(response, secure=console.secure)

    return send


def _origins(base_url: str) -> frozenset[str]:
    """The origins of the console. On loopback, browsers may use any of its names."""
    parts = urlsplit(base_url)
    is_default = parts.port in {None, _DEFAULT_PORTS.get(parts.scheme)}  # which browsers leave out
    port = "" if is_default else f":{parts.port}"
    if is_loopback(parts.hostname or ""):
        return frozenset(f"{parts.scheme}://{host}{port}" for host in _LOOPBACKS)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return frozenset({f"{parts.scheme}://{host}{port}"})
