"""A FHIR server with just enough behaviour for messages and answers; it can fail before or after it stored something.

The same tests run against a server that others wrote: tests/interop/test_fhir_answers.py.
"""

import json
import random
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

Resource = dict[str, Any]
Returned: TypeAlias = Literal["resource", "outcome", "nothing", "empty", "garbage"]


@dataclass
class FhirServer:
    """
    Attributes:
        failing: share of the requests that fail; half of these are carried out all the same.
        returns: to what it creates or updates; `resource` if it honours `Prefer: return=representation`, otherwise an
            empty body, an `outcome`, or a body that is `empty` or `garbage` and declared as JSON.
        names: whether it answers with `Location`.
        before_answer: called with each request that was carried out, before it is answered.
        stored: every resource by its type and id.
        pid: of the client, for tests that kill it.
    """

    server: HTTPServer
    failing: float = 0.0
    returns: Returned = "resource"
    names: bool = True
    before_answer: Callable[[Request], None] = lambda _: None
    dice: random.Random = field(default_factory=lambda: random.Random(1))
    stored: dict[str, Resource] = field(default_factory=dict)
    pid: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def base(self) -> str:
        return self.server.url_for("/fhir")

    def of_type(self, kind: str) -> list[Resource]:
        return [resource for resource in self.stored.values() if resource["resourceType"] == kind]

    def handle(self, request: Request) -> Response:
        with self._lock:
            fails, too_late = self.dice.random() < self.failing, self.dice.random() < 0.5
            status = self.dice.choice([429, 500, 503])
            if fails and not too_late:
                return Response(status=status)
            answer = self._answer(request)
            self.before_answer(request)
            return Response(status=status) if fails else answer

    def give_token(self, _: Request) -> Response:
        """Tokens for all: what is tested here is not who may ask."""
        return Response('{"access_token": "t", "expires_in": 300}', content_type="application/json")

    def _answer(self, request: Request) -> Response:
        kind, *rest = request.path.removeprefix("/fhir/").split("/")
        match request.method, rest:
            case "POST", []:
                found = self._matching(kind, request.headers.get("If-None-Exist", "identifier=none"))
                if len(found) > 1:
                    return Response(status=412)
                return self._show(found[0], 200) if found else self._store(request.get_json(force=True), 201)
            case "PUT", [id_]:
                now = self.stored[f"{kind}/{id_}"]
                if request.headers.get("If-Match", _etag(now)) != _etag(now):
                    return Response(status=412)
                return self._store(request.get_json(force=True), 200, id_)
            case "GET", [id_] if f"{kind}/{id_}" not in self.stored:
                return Response(status=404)
            case "GET", [id_]:
                return self._show(self.stored[f"{kind}/{id_}"], 200, always=True)
            case "GET", []:
                found = self._matching(kind, f"identifier={request.args['identifier']}")
                bundle = {"resourceType": "Bundle", "entry": [{"resource": each} for each in found]}
                return Response(json.dumps(bundle), content_type="application/fhir+json")
        return Response(status=404)

    def _matching(self, kind: str, query: str) -> list[Resource]:
        system, value = query.removeprefix("identifier=").split("|") if "|" in query else ("", "")
        return [each for each in self.of_type(kind) if {"system": system, "value": value} in each.get("identifier", [])]

    def _store(self, resource: Resource, status: int, id_: str | None = None) -> Response:
        kind, id_ = resource["resourceType"], id_ or str(len(self.stored) + 1)
        version = int(self.stored.get(f"{kind}/{id_}", {"meta": {"versionId": "0"}})["meta"]["versionId"]) + 1
        meta = resource.get("meta", {}) | {"versionId": str(version), "lastUpdated": f"2026-01-01T00:00:{version:02}Z"}
        self.stored[f"{kind}/{id_}"] = stored = resource | {"id": id_, "meta": meta}
        return self._show(stored, status)

    def _show(self, resource: Resource, status: int, *, always: bool = False) -> Response:
        headers = {"ETag": _etag(resource)}
        if self.names:
            headers["Location"] = f"{self.base}/{resource['resourceType']}/{resource['id']}"
        outcome = {"resourceType": "OperationOutcome", "issue": []}
        bodies = {"resource": json.dumps(resource), "outcome": json.dumps(outcome), "garbage": "{"}
        returned = "resource" if always else self.returns
        content_type = None if returned == "nothing" else "application/fhir+json"
        return Response(bodies.get(returned, ""), status, headers, content_type=content_type)


def _etag(resource: Resource) -> str:
    return f'W/"{resource["meta"]["versionId"]}"'


@contextmanager
def fhir_server(*, failing: float = 0.0, returns: Returned = "resource", names: bool = True) -> Iterator[FhirServer]:
    with HTTPServer(threaded=True) as server:
        fhir = FhirServer(server, failing, returns, names)
        smart = {"token_endpoint": server.url_for("/token")}
        server.expect_request("/fhir/.well-known/smart-configuration").respond_with_json(smart)
        server.expect_request("/token").respond_with_handler(fhir.give_token)
        server.expect_request(re.compile("/fhir/.*")).respond_with_handler(fhir.handle)
        yield fhir
