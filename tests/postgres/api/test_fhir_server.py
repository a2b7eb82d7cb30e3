"""The FHIR endpoint as a server: what it claims, and an OperationOutcome for every failure."""

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

import worker.fhir
from tests.support.hostile import json_values, texts
from triage.clients import registration
from triage.domain.scopes import Scope
from worker.api.endpoint import Endpoint
from worker.api.subjects import SUBJECTS
from worker.codes import Code
from worker.fhir.endpoint.outcomes import outcome_of_failure
from worker.fhir.terms import ERROR_CODE
from worker.tasks.base import WorkerServices

Headers = dict[str, str]
DEFINITIONS = Path(worker.fhir.__file__).parent / "endpoint" / "definitions"
NAME = "Erika-Mustermann-1971"
MESSAGE: dict[str, Any] = {
    "resourceType": "Communication",
    "id": "1",
    "meta": {"profile": ["https://skin-photo-triage.example/fhir/StructureDefinition/patient-message"]},
    "language": "es",
    "contained": [{"resourceType": "Media", "id": "q", "status": "completed", "content": {"data": "AAAA"}}],
    "identifier": [{"system": "urn:oid:1.2", "value": "1"}],
    "basedOn": [{"identifier": {"system": "urn:x", "value": "1"}}],
    "partOf": [{"reference": "Communication/topic"}],
    "inResponseTo": [{"reference": "Communication/0"}],
    "status": "completed",
    "sender": {"reference": "Patient/1", "type": "Patient", "display": NAME},
    "subject": {"reference": "Patient/1"},
    "encounter": {"reference": "Encounter/1"},
    "payload": [
        {"contentString": NAME},
        {"contentAttachment": {"contentType": "image/jpeg", "data": "AAAA", "size": 3, "hash": "AAAA", "title": NAME}},
        {"contentAttachment": {"contentType": "image/jpeg", "url": "https://ehr.example/1"}},
        {"contentReference": {"reference": "#q"}},
    ],
}
BINARY: dict[str, Any] = {"resourceType": "Binary", "contentType": "image/jpeg", "data": "AAAA"}
DOCUMENT: dict[str, Any] = {
    "resourceType": "DocumentReference",
    "status": "current",
    "content": [{"attachment": {"contentType": "image/jpeg", "url": "urn:uuid:1"}}],
}
BUNDLE: dict[str, Any] = {
    "resourceType": "Bundle",
    "type": "transaction",
    "entry": [
        {"fullUrl": "urn:uuid:1", "resource": BINARY, "request": {"method": "POST", "url": "Binary"}},
        {"fullUrl": "urn:uuid:2", "resource": DOCUMENT, "request": {"method": "POST", "url": "DocumentReference"}},
        {
            "fullUrl": "urn:uuid:3",
            "resource": MESSAGE | {"payload": [{"contentReference": {"reference": "urn:uuid:2"}}]},
            "request": {"method": "PUT", "url": "Communication/1", "ifMatch": None},
        },
    ],
}


@pytest.fixture
def pusher(as_client: Callable[..., Headers]) -> Headers:
    scopes = (Scope.FHIR_CREATE, Scope.FHIR_UPDATE, Scope.FHIR_READ)
    return as_client(*scopes, name="engine") | {"Content-Type": "application/fhir+json"}


def _code(answer: Any) -> str:
    """The code of this product in an OperationOutcome."""
    assert answer.headers["content-type"] == "application/fhir+json"
    [issue] = answer.json()["issue"]
    assert (answer.json()["resourceType"], issue["severity"]) == ("OperationOutcome", "error")
    [coding] = issue["details"]["coding"]
    assert coding["system"] == ERROR_CODE
    assert issue["diagnostics"].isprintable()
    assert NAME not in answer.text
    return str(coding["code"])


def test_every_code_has_an_issue_type_and_a_definition() -> None:
    system = json.loads((DEFINITIONS / "CodeSystem-error-code.json").read_text(encoding="utf-8"))

    assert [each["code"] for each in system["concept"]] == [code.value for code in Code]
    assert all(outcome_of_failure(code, "x")["issue"][0]["code"] for code in Code)


def _requests(headers: Headers) -> Iterator[tuple[str, str, Headers, bytes, int, str]]:
    post, body = ("POST", "/fhir/Communication"), json.dumps(MESSAGE).encode()
    yield *post, {"Content-Type": "application/fhir+json"}, body, 401, "unauthenticated"
    yield *post, headers | {"Authorization": "Bearer x"}, body, 401, "unauthenticated"
    yield *post, headers | {"Content-Type": "application/fhir+xml"}, b"<Communication/>", 415, "unsupported_type"
    yield *post, headers | {"Content-Encoding": "gzip"}, body, 415, "unsupported_type"
    yield *post, headers | {"Accept": "application/fhir+xml"}, body, 406, "not_acceptable"
    yield "POST", "/fhir/Communication?_format=xml", headers, body, 406, "not_acceptable"
    yield *post, headers, b"{", 400, "invalid"
    yield *post, headers, b"\xff", 400, "invalid"
    yield *post, headers, b"[]", 400, "invalid"
    yield *post, headers, b'{"status": NaN}', 400, "invalid"
    yield *post, headers, b'{"resourceType": "Patient"}', 400, "invalid"
    yield *post, headers, b" " * (2**24 + 1), 413, "too_large"
    yield (
        *post,
        headers,
        b'{"resourceType": "Communication", "payload": [' + b"{}," * 200_000 + b"{}]}",
        413,
        "too_large",
    )
    yield *post, headers | {"If-None-Exist": "identifier=x"}, body, 400, "invalid"
    yield *post, headers | {"If-None-Exist": "status=completed"}, body, 400, "invalid"
    yield "POST", "/fhir", headers, b'{"resourceType": "Bundle", "type": "batch"}', 422, "unprocessable"
    yield "PUT", "/fhir/Communication/2", headers, body, 400, "invalid"
    yield "PUT", "/fhir/Communication/1", headers | {"If-Match": 'W/"9"'}, body, 412, "precondition_failed"
    yield "GET", "/fhir/Communication/2", headers, b"", 404, "not_found"
    yield "GET", "/fhir/Communication/1/_history/1", headers, b"", 404, "not_found"
    yield "GET", "/fhir/Communication", headers, b"", 405, "method_not_allowed"
    yield "DELETE", "/fhir/Communication/1", headers, b"", 405, "method_not_allowed"
    yield "GET", "/fhir", headers, b"", 405, "method_not_allowed"
    yield "GET", "/fhir/Patient/1", headers, b"", 404, "not_found"
    yield "GET", f"/fhir/{NAME}", headers, b"", 404, "not_found"
    yield "GET", "/fhir/CodeSystem/x", {}, b"", 404, "not_found"
    yield "GET", "/fhir/metadata", {"Accept": "text/html"}, b"", 406, "not_acceptable"


def test_every_failure_is_an_operation_outcome(api: TestClient, pusher: Headers) -> None:
    for method, path, headers, body, status, code in _requests(pusher):
        answer = api.request(method, path, headers=headers, content=body)
        assert (answer.status_code, _code(answer)) == (status, code), (method, path, headers)


def test_other_paths_keep_their_problem_documents(api: TestClient) -> None:
    for path in ("/fhirx", "/fhir-hooks", "/v1/fhir/metadata", "/v1/reports"):
        assert api.get(path).headers["content-type"] == "application/problem+json"


def test_client_without_the_scope_is_refused(api: TestClient, as_client: Callable[..., Headers]) -> None:
    others = as_client(*set(Scope) - {Scope.FHIR_CREATE, Scope.FHIR_UPDATE, Scope.FHIR_READ}, name="other")

    answers = [
        api.post("/fhir/Communication", headers=others, json=MESSAGE),
        api.put("/fhir/Communication/1", headers=others, json=MESSAGE),
        api.get("/fhir/Communication/1", headers=others),
        api.post("/fhir", headers=others, json=BUNDLE),
    ]

    assert [(each.status_code, _code(each)) for each in answers] == [(403, "forbidden")] * 4
    assert all("insufficient_scope" in each.headers["www-authenticate"] for each in answers)


def test_client_that_is_limited_to_other_sources_is_refused(api: TestClient, services: WorkerServices) -> None:
    made = registration.add(
        services.sessions, "other", [Scope.FHIR_UPDATE, Scope.FHIR_READ], by="op-1", sources=["ehr"]
    )
    limited = {"Authorization": f"Bearer {made.key}", "Content-Type": "application/fhir+json"}

    answers = [
        api.put("/fhir/Communication/1", headers=limited, json=MESSAGE),
        api.get("/fhir/Communication/1", headers=limited),
    ]

    assert [(each.status_code, _code(each)) for each in answers] == [(403, "forbidden")] * 2


def test_outage_is_answered_with_a_time_to_retry(api: TestClient, pusher: Headers, services: WorkerServices) -> None:
    assert api.post("/fhir/Communication", headers=pusher, json=MESSAGE).status_code == 201
    folder = services.blobs.folder
    assert folder is not None
    folder.rename(folder.with_name("unmounted"))

    answer = api.put("/fhir/Communication/1", headers=pusher, json=MESSAGE)

    assert (answer.status_code, _code(answer)) == (503, "unavailable")
    assert int(answer.headers["retry-after"]) > 0


@pytest.mark.parametrize(
    "accept",
    [
        "*/*",
        "application/json",
        "application/fhir+json;fhirVersion=4.0",
        "application/fhir+xml;q=0.5, application/fhir+json",
        "",
    ],
)
def test_clients_that_accept_json_are_answered(api: TestClient, accept: str) -> None:
    assert api.get("/fhir/metadata", headers={"Accept": accept}).status_code == 200
    assert api.get("/fhir/metadata?_format=application/fhir+json", headers={"Accept": "text/html"}).status_code == 200


def test_server_claims_what_it_does_and_nothing_else(api: TestClient) -> None:
    statement = api.get("/fhir/metadata").json()

    [rest] = statement["rest"]
    claimed = {(each["type"], kind["code"]) for each in rest["resource"] for kind in each.get("interaction", ())}
    assert claimed == {interaction for each in _endpoints() if (interaction := _interaction(each))}
    assert [each["code"] for each in rest["interaction"]] == ["transaction"]
    assert statement["kind"] == "instance"
    assert statement["implementation"]["url"] == "http://testserver/fhir"
    [uris] = rest["security"]["extension"]
    assert uris["extension"] == [{"url": "token", "valueUri": "http://testserver/auth/token"}]


def _endpoints() -> Iterator[Endpoint]:
    yield from (each for subject in SUBJECTS for each in subject.declared if each.path.startswith("/fhir/"))


def _interaction(endpoint: Endpoint) -> tuple[str, str] | None:
    kind = endpoint.path.split("/")[2]
    code = {"POST": "create", "PUT": "update", "GET": "read"}[endpoint.method]
    return (kind, code) if kind[0].isupper() else None


def test_definitions_are_served_as_they_are_shipped(api: TestClient) -> None:
    for path in DEFINITIONS.glob("*.json"):
        shipped = json.loads(path.read_text(encoding="utf-8"))
        if shipped["resourceType"] != "CapabilityStatement":
            assert api.get(f"/fhir/{shipped['resourceType']}/{shipped['id']}").json() == shipped


def test_smart_configuration_is_found_below_the_base(api: TestClient) -> None:
    below = api.get("/fhir/.well-known/smart-configuration").json()

    assert below == api.get("/.well-known/smart-configuration").json()
    assert {"system/Communication.cru", "fhir.create"} <= set(below["scopes_supported"])
    assert {"client-confidential-asymmetric", "permission-v1", "permission-v2"} <= set(below["capabilities"])


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    keys = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield from _places(value[key], (*path, key))


def _with(resource: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    changed = copy.deepcopy(resource)
    inside = changed
    for key in path[:-1]:
        inside = inside[key]
    inside[path[-1]] = value
    return changed


def _changed(resource: dict[str, Any]) -> st.SearchStrategy[Any]:
    """The resource with one of its elements replaced by anything."""
    odd: list[Any] = [None, True, -1, 1e308, 2**70, [], {}, [None], [{}], {"id": 1}]
    others: st.SearchStrategy[Any] = json_values() | texts() | st.sampled_from(odd)
    return st.builds(_with, st.just(resource), st.sampled_from(list(_places(resource))), others)


@pytest.mark.parametrize(("method", "path", "resource"), [("PUT", "/Communication/1", MESSAGE), ("POST", "", BUNDLE)])
def test_answer_is_never_a_defect_when_an_element_is_hostile(
    api: TestClient, pusher: Headers, method: str, path: str, resource: dict[str, Any]
) -> None:
    @settings(suppress_health_check=list(HealthCheck), max_examples=settings().max_examples)
    @given(changed=_changed(resource))
    def fuzz(changed: Any) -> None:
        answer = api.request(method, f"/fhir{path}", headers=pusher, content=json.dumps(changed).encode())
        assert answer.status_code < 500, (answer.text, changed)
        if answer.status_code >= 400:
            assert _code(answer) in {"invalid", "unprocessable", "precondition_failed"}
        assert NAME not in answer.text

    fuzz()


def test_answer_is_never_a_defect_when_a_header_is_hostile(api: TestClient, pusher: Headers) -> None:
    names = st.sampled_from(["If-Match", "If-None-Match", "If-None-Exist", "Prefer", "Accept"])
    values = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=80) | st.sampled_from(
        ['W/"', '"' * 1000, "identifier=%FF|%", "identifier=a|b&identifier=c", "return=", ";;,,", "a=" * 300]
    )

    @settings(suppress_health_check=list(HealthCheck), max_examples=settings().max_examples // 2)
    @given(name=names, value=values)
    def fuzz(name: str, value: str) -> None:
        for method, path in (("POST", "/fhir/Communication"), ("PUT", "/fhir/Communication/1"), ("POST", "/fhir")):
            answer = api.request(method, path, headers=pusher | {name: value}, json=MESSAGE)
            assert answer.status_code < 500, answer.text

    fuzz()
