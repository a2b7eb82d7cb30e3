"""The ASGI application: the endpoints of all subjects over the services of one process."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from types import MappingProxyType
from typing import Final

import anyio
import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp

from triage.reports.announcements import Announcements
from worker.api.auth import Authenticator
from worker.api.door import Door
from worker.api.endpoint import Endpoint
from worker.api.identity_provider import IdentityProvider
from worker.api.limits import Slots
from worker.api.openapi import openapi
from worker.api.problems import Failure
from worker.api.shared import Shared
from worker.api.subjects import SUBJECTS
from worker.codes import Code
from worker.services import Services

log = structlog.get_logger(__name__)

_PUSHES: Final = 4


Part = Callable[[Shared], ASGIApp | None]
"""Makes an application that is served below a path; None if it is left out."""


def create_app(services: Services, base_url: str, parts: Mapping[str, Part] = MappingProxyType({})) -> Starlette:
    """Makes the application.

    Args:
        services: of this process. Its parts are made at once, because requests run in several threads.
        base_url: under which clients reach the server.
        parts: further applications by their path. `/` leads to the first one that is served.
    """
    settings = services.settings
    shared = Shared(
        services=services,
        base_url=base_url,
        announcements=Announcements(settings.listen_url, lost=_lost),
        slots=Slots(settings.api.max_requests_per_client),
        threads=anyio.CapacityLimiter(2 * settings.database.pool_size),
        pushes=anyio.CapacityLimiter(_PUSHES),
    )
    _ = services.sessions, services.intake, services.photo_store, services.assessments, services.push
    _ = settings.catalogue

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        listening = asyncio.create_task(shared.announcements.run())
        yield
        listening.cancel()
        with suppress(asyncio.CancelledError):
            await listening

    served = {path: part for path, make in parts.items() if (part := make(shared)) is not None}
    homes = [Route("/", RedirectResponse(f"{path}/")) for path in served][:1]
    mounts = [
        route
        for path, part in served.items()
        for route in (Route(path, RedirectResponse(f"{path}/")), Mount(path, app=part))
    ]
    routes = [*_routes(shared), *homes, *mounts]
    app = Starlette(routes=routes, lifespan=lifespan, exception_handlers={HTTPException: _refuse})
    app.router.redirect_slashes = False  # the redirect would lead to whatever the request calls its host
    app.state.shared = shared
    return app


def _routes(shared: Shared) -> Iterator[BaseRoute]:
    api = shared.services.settings.api
    provider = None
    if api.issuer and api.audience and api.jwks_url:
        provider = IdentityProvider(api.issuer, api.audience, api.jwks_url)
    authenticate = Authenticator(shared.services, shared.threads, provider)
    for subject in SUBJECTS:
        for endpoint in subject.declared:
            for path in _starlette_paths(endpoint):
                yield Route(path, Door(endpoint, shared, authenticate), methods=[endpoint.method])
    description = openapi(SUBJECTS)

    async def describe(_: Request) -> Response:
        return JSONResponse(description)

    yield Route("/openapi.json", describe)


def _starlette_paths(endpoint: Endpoint) -> Iterator[str]:
    """The paths for Starlette. A text at the end of one may have slashes: ids of senders do."""
    last = endpoint.path.rpartition("/")[2]
    is_text = endpoint.parts.get(last.strip("{}")) is str
    yield endpoint.path.replace(last, f"{last[:-1]}:path}}") if is_text else endpoint.path
    if endpoint.path == endpoint.dialect.root:  # FHIR clients write the base of a server with a slash or without
        yield f"{endpoint.path}/"


def _refuse(request: Request, error: Exception) -> Response:
    dialect = max((each.dialect for each in SUBJECTS if each.dialect.has(request.url.path)), key=lambda each: each.root)
    if isinstance(error, HTTPException) and error.status_code == 405:
        detail = "this path has other methods: see the header Allow"
        return dialect.failure(Failure(Code.METHOD_NOT_ALLOWED, detail, error.headers or {}))
    return dialect.failure(Failure(Code.NOT_FOUND, f"no such path: see {dialect.index}"))


def _lost() -> None:
    log.warning("announcements.lost")
