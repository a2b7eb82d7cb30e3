"""The way of a request: authenticate, check the scope, take a slot, read the input, call the handler, answer.

Every failure is answered in the dialect of the endpoint. What a failed request held is released before the answer.
"""

import inspect
import time
from functools import partial
from typing import Any, Final, TypeVar
from uuid import UUID

import structlog
from pydantic import BaseModel, ValidationError
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from triage.domain.clients import Caller
from triage.errors import DefectError, TriageError, UsageError, validation_problems, where
from worker.api.auth import Authenticator
from worker.api.endpoint import JSON, Answer, Call, Endpoint
from worker.api.limits import LimitedBody, check_elements, limited_send
from worker.api.metrics import IN_PROGRESS, REQUESTS, SECONDS
from worker.api.problems import Failure, RequestError
from worker.api.shared import Shared
from worker.codes import Code, code_of
from worker.documents.document import Document

Model = TypeVar("Model", bound=BaseModel)

log = structlog.get_logger(__name__)

ANONYMOUS: Final = Caller("anonymous", frozenset())
_HEADERS: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
_MAX_ELEMENTS: Final = 100_000

_GONE: Final = 499
"""The status that metrics show if the client has closed the connection."""


class Door:
    """The ASGI application of one endpoint."""

    def __init__(self, endpoint: Endpoint, shared: Shared, authenticate: Authenticator) -> None:
        self._endpoint = endpoint
        self._shared = shared
        self._authenticate = authenticate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        api, name, begin = self._shared.services.settings.api, self._endpoint.name, time.monotonic()
        headers = Headers(scope=scope)
        is_json = not self._endpoint.bodies or media_type(headers).endswith("json")
        body = LimitedBody(
            receive,
            max_bytes=api.max_json_bytes if is_json else api.max_body_bytes,
            declared=_number(headers.get("content-length")),
            idle_seconds=api.idle_seconds,
            seconds=api.request_seconds,
        )
        status = _GONE
        with IN_PROGRESS.track_inprogress():
            try:
                response = await self._answer(Request(scope, body))
                for header, value in _HEADERS.items():
                    response.headers.setdefault(header, value)
                status = response.status_code
                await response(scope, receive, limited_send(send, api.request_seconds))
            except (ClientDisconnect, TimeoutError):
                pass  # the caller is gone: no answer can be read
            finally:
                REQUESTS.labels(name, status).inc()
                SECONDS.labels(name).observe(time.monotonic() - begin)

    async def _answer(self, request: Request) -> Response:
        try:
            return _response(await self._call(request), self._endpoint.status)
        except ClientDisconnect:
            raise
        except TriageError as error:
            code = error.code if isinstance(error, RequestError) else code_of(error)
            self._log(code, error)
            return self._endpoint.dialect.failure(Failure.of(error))
        except Exception as error:  # a defect: where, but never the text, which may contain patient data
            defect = DefectError(type(error).__name__, error.__traceback__)
            self._log(Code.INTERNAL, error)
            return self._endpoint.dialect.failure(Failure.of(defect))

    def _log(self, code: Code, error: Exception) -> None:
        fields: dict[str, Any] = {"action": self._endpoint.name, "kind": code.value, "error_type": type(error).__name__}
        if code is Code.INTERNAL:
            log.error("request.failed", **fields, where=where(error.__traceback__))
        else:
            log.warning("request.refused", **fields)

    async def _call(self, request: Request) -> object:
        endpoint = self._endpoint
        endpoint.dialect.check(request)
        if endpoint.scope is None:
            return await self._handle(request, ANONYMOUS)
        caller = await self._authenticate(request.headers.get("authorization"))
        if not caller.may(endpoint.scope):
            raise RequestError(
                Code.FORBIDDEN,
                f"this client lacks the scope {endpoint.scope}",
                {"WWW-Authenticate": f'Bearer error="insufficient_scope", scope="{endpoint.scope}"'},
            )
        with self._shared.slots.take(caller.actor):
            return await self._handle(request, caller)

    async def _handle(self, request: Request, caller: Caller) -> object:
        endpoint = self._endpoint
        arguments: dict[str, Any] = {
            name: _part(name, kind, request.path_params[name]) for name, kind in endpoint.parts.items()
        }
        if endpoint.query is not None:
            arguments["query"] = _query(endpoint.query, request)
        if endpoint.body is not None:
            arguments["body"] = parsed(endpoint.body, await read_json(request))
        call = Call(caller, self._shared, request)
        if inspect.iscoroutinefunction(endpoint.handler):
            return await endpoint.handler(call, **arguments)
        return await call.run(partial(endpoint.handler, call, **arguments))


async def read_json(request: Request) -> bytes:
    """The body of a request, which must be declared as JSON.

    Raises:
        RequestError: it is declared as something else.
    """
    if media_type(request.headers) != JSON:
        raise RequestError(Code.UNSUPPORTED_TYPE, "the body is not declared as application/json: set Content-Type")
    return await request.body()


def media_type(headers: Headers) -> str:
    """The declared type of the body, without parameters."""
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def parsed(model: type[Model], body: bytes) -> Model:
    """
    Raises:
        RequestError: the body has too many elements.
        UsageError: the body is not this document. The error names the fields and omits their values.
    """
    check_elements(body, _MAX_ELEMENTS)
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise UsageError(f"invalid body: {validation_problems(error)}") from error


def _query(model: type[BaseModel], request: Request) -> BaseModel:
    items = request.query_params.multi_items()
    if len(dict(items)) < len(items):
        raise UsageError("invalid query: a parameter is given twice")
    try:
        return model.model_validate_strings(dict(items))
    except ValidationError as error:
        raise UsageError(f"invalid query: {validation_problems(error)}") from error


def _part(name: str, kind: Any, value: str) -> object:
    if kind is not UUID:
        return value
    try:
        return UUID(value)
    except ValueError:
        raise UsageError(f"invalid path: {name} is not a UUID") from None


def _response(result: object, status: int) -> Response:
    match result:
        case Answer():
            return JSONResponse(result.document.json_types(), status, result.headers)
        case Document():
            return JSONResponse(result.json_types(), status)
        case Response():
            return result
    raise TypeError("an endpoint answers with a document or a response")


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 20 else None
