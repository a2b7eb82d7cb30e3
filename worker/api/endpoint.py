"""How endpoints are declared: a function with its scope, whose parameters and result are documents.

    @endpoint("POST", "/v1/overrides", scope=Scope.DECISIONS_WRITE)
    def override(call: Call, body: OverrideCall) -> OverrideDocument:
        "The first line becomes the summary in the OpenAPI document."

Parameters: `call` always; `body` (a model, read as JSON) and `query` (a model, read from the URL) where the endpoint
takes them; all others are parts of the path. A plain function runs in a thread; an `async` one must not block. The
result is a document, an `Answer` with headers, or a response.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, TypeVar, get_type_hints

import anyio.to_thread
from pydantic import BaseModel
from starlette.requests import Request

from triage.domain.clients import Caller
from triage.domain.scopes import Scope
from worker.api.problems import PROBLEMS, Dialect, RequestError
from worker.api.shared import Shared
from worker.codes import Code
from worker.documents.document import Document
from worker.services import Services

Result = TypeVar("Result")
JSON: Final = "application/json"


@dataclass(frozen=True, slots=True)
class Call:
    """A request that was let in.

    Attributes:
        caller: who calls; the anonymous caller for an endpoint without a scope.
        request: for endpoints that read the body themselves.
    """

    caller: Caller
    shared: Shared
    request: Request

    @property
    def services(self) -> Services:
        return self.shared.services

    def of_own(self, source: str) -> str:
        """Returns a source unchanged.

        Raises:
            RequestError: the caller is limited to others.
        """
        if self.caller.sources is not None and source not in self.caller.sources:
            raise RequestError(Code.FORBIDDEN, "this client is limited to other sources: name one of its own")
        return source

    async def run(self, use_case: Callable[[], Result]) -> Result:
        """Runs a use case in a thread, for `async` endpoints."""
        return await anyio.to_thread.run_sync(use_case, limiter=self.shared.threads)


@dataclass(frozen=True, slots=True)
class Answer:
    """A document with headers of the response."""

    document: Document
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An endpoint.

    Attributes:
        path: with its parameters in braces, such as `/v1/retakes/{request_id}/withdraw`.
        scope: what the caller must have; None lets everybody in.
        body: model of the body; None if there is none or the endpoint reads it itself.
        bodies: by media type, the schemas of a body that the endpoint reads itself.
        answers: document of the answer; None for another kind of response.
        also: further media types of the answer.
        errors: by status, the document of failures that another protocol prescribes.
        status: of the answer.
        dialect: of its group.
    """

    method: str
    path: str
    scope: Scope | None
    handler: Callable[..., Any]
    body: type[BaseModel] | None
    query: type[BaseModel] | None
    parts: Mapping[str, Any]
    answers: type[Document] | None
    status: int
    bodies: Mapping[str, type[BaseModel]]
    also: tuple[str, ...]
    errors: Mapping[int, type[Document]]
    dialect: Dialect

    @property
    def name(self) -> str:
        return self.handler.__name__

    @property
    def reads_body(self) -> bool:
        return self.body is not None or bool(self.bodies)


@dataclass(frozen=True, slots=True)
class Endpoints:
    """The endpoints of one subject."""

    title: str
    dialect: Dialect = PROBLEMS
    declared: list[Endpoint] = field(default_factory=list)

    def endpoint(
        self,
        method: str,
        path: str,
        *,
        scope: Scope | None,
        status: int = 200,
        answers: type[Document] | None = None,
        bodies: Mapping[str, type[BaseModel]] = MappingProxyType({}),
        also: tuple[str, ...] = (),
        errors: Mapping[int, type[Document]] = MappingProxyType({}),
    ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Declares an endpoint; see the module. `answers` is for functions that return an `Answer`."""

        def declare(handler: Callable[..., Any]) -> Callable[..., Any]:
            hints = get_type_hints(handler)
            result = hints.pop("return")
            parts = {name: hints[name] for name in inspect.signature(handler).parameters if name not in _RESERVED}
            is_document = isinstance(result, type) and issubclass(result, Document)
            self.declared.append(
                Endpoint(
                    method=method,
                    path=path,
                    scope=scope,
                    handler=handler,
                    body=hints.get("body"),
                    query=hints.get("query"),
                    parts=parts,
                    answers=result if is_document else answers,
                    status=status,
                    bodies=bodies,
                    also=also,
                    errors=errors,
                    dialect=self.dialect,
                )
            )
            return handler

        return declare


_RESERVED: Final = frozenset({"call", "body", "query"})
