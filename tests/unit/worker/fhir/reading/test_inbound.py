"""Reading and searching on a real server on this machine."""

import json
import re
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import httpx2
import pytest
from pytest_httpserver import HTTPServer

from tests.unit.worker.fhir.reading.test_messages import MESSAGE, PHOTO
from tests.unit.worker.fhir.server.test_client import Numbered
from triage.blobs.uris import UriPolicy
from triage.domain.arrivals import Found
from triage.domain.ids import new_id
from triage.domain.limits import IntakeLimits
from triage.domain.messages import Origin
from triage.errors import ErrorCode, ServiceUnavailableError, UsageError
from worker.fhir.reading.inbound import Inbound
from worker.fhir.server.client import FhirClient
from worker.fhir.server.ehr import Ehr
from worker.fhir.server.errors import FhirRefusedError, FhirUnavailableError, ForbiddenError, RejectedError
from worker.fhir.terms import REQUEST_ID

SINCE = datetime(2026, 11, 29, 15, 4, 5, 678_900, tzinfo=timezone(timedelta(hours=1)))
LIMITS = IntakeLimits(max_bytes=99)
QUERY = "/fhir/Communication"


@pytest.fixture
def http() -> Iterator[httpx2.Client]:
    with httpx2.Client(timeout=2, follow_redirects=False) as http:
        yield http


@pytest.fixture
def inbound(http: httpx2.Client, httpserver: HTTPServer) -> Inbound:
    return _inbound(http, httpserver, "Communication?category=notification")


def _inbound(http: httpx2.Client, httpserver: HTTPServer, query: str | None, cursor: str = "_lastUpdated") -> Inbound:
    client = FhirClient(http, httpserver.url_for("/fhir"), Numbered())
    return Inbound(client, Ehr(client, UriPolicy([], max_bytes=99), 99), "ehr", LIMITS, 2 * len(PHOTO), query, cursor)


def _serve(httpserver: HTTPServer, **changes: Any) -> None:
    message = MESSAGE | {"meta": {"versionId": "v-1"}} | changes
    httpserver.expect_request("/fhir/Communication/m-1").respond_with_json(message)
    httpserver.expect_request("/fhir/Binary/b-1").respond_with_data(PHOTO, content_type="image/jpeg")


def test_message_has_the_photos_and_references_of_its_communication(inbound: Inbound, httpserver: HTTPServer) -> None:
    _serve(httpserver, language="es-MX", partOf=[{"reference": "Communication/t-1"}])

    found = inbound.read("Communication/m-1")

    assert found.version == "v-1"
    assert found.message is not None
    message = found.message
    assert (message.source, message.external_id, message.thread) == ("ehr", "Communication/m-1", "Communication/t-1")
    assert (message.role, message.locale, message.origin) == ("patient", "es-MX", Origin("Patient/7", "Patient/7"))
    assert [photo.data for photo in message.attachments] == [PHOTO]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"sender": {"reference": "Practitioner/1"}}, Found("v-1")),
        ({"status": "preparation"}, Found("v-1")),
        ({"payload": [{"contentString": "no photo"}]}, Found("v-1")),
        ({"status": "entered-in-error"}, Found("v-1", is_withdrawn=True)),
        (
            {"status": "entered-in-error", "meta": {"lastUpdated": "2026-11-29T15:00:00Z"}},
            Found("2026-11-29T15:00:00Z", is_withdrawn=True),
        ),
        ({"status": "entered-in-error", "meta": 7}, Found(None, is_withdrawn=True)),
    ],
)
def test_status_and_sender_decide_what_follows(
    inbound: Inbound, httpserver: HTTPServer, changes: dict[str, Any], expected: Found
) -> None:
    _serve(httpserver, **changes)

    assert inbound.read("Communication/m-1") == expected


ABSENT = {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "not-found"}]}


@pytest.mark.parametrize(("status", "body"), [(410, {}), (404, ABSENT)])
def test_message_is_withdrawn_when_the_server_states_that_it_is_absent(
    inbound: Inbound, httpserver: HTTPServer, status: int, body: dict[str, Any]
) -> None:
    httpserver.expect_request("/fhir/Communication/m-1").respond_with_json(body, status)

    assert inbound.read("Communication/m-1") == Found(is_withdrawn=True, is_absent=True)


def test_message_waits_when_nothing_is_at_its_address(inbound: Inbound, httpserver: HTTPServer) -> None:
    httpserver.expect_request("/fhir/Communication/m-1").respond_with_data("<h1>Not Found</h1>", 404)

    with pytest.raises(ServiceUnavailableError, match="does not state"):
        inbound.read("Communication/m-1")


@pytest.mark.parametrize(("searched", "n_found"), [(200, 0), (200, 1), (403, 0), (404, 0), (400, 0)])
def test_unknown_message_is_absent_and_not_withdrawn_when_a_search_does_not_find_it_either(
    inbound: Inbound, httpserver: HTTPServer, searched: int, n_found: int
) -> None:
    unknown = {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "processing"}]}
    httpserver.expect_request("/fhir/Communication/m-1").respond_with_data(
        json.dumps(unknown), 404, content_type="application/fhir+json;charset=UTF-8"
    )
    bundle = {"resourceType": "Bundle", "entry": [{"resource": MESSAGE}] * n_found}
    httpserver.expect_request(QUERY, query_string="_id=m-1&_count=1").respond_with_json(bundle, searched)

    if (searched, n_found) == (200, 0):
        assert inbound.read("Communication/m-1") == Found(is_absent=True)
    else:
        with pytest.raises(FhirUnavailableError, match="does not state"):
            inbound.read("Communication/m-1")


@pytest.mark.parametrize(("status", "error"), [(403, FhirRefusedError), (404, ForbiddenError), (410, ForbiddenError)])
def test_refusal_concerns_one_message_unless_one_that_does_not_exist_is_refused_too(
    http: httpx2.Client, httpserver: HTTPServer, status: int, error: type[Exception]
) -> None:
    inbound = _inbound(http, httpserver, None)
    httpserver.expect_request("/fhir/Communication/m-1").respond_with_data(b"", 403)
    httpserver.expect_request(re.compile("/fhir/Communication/[0-9a-f-]{36}")).respond_with_data(b"", status)

    with pytest.raises(error) as raised:
        inbound.read("Communication/m-1")

    assert type(raised.value) is error


@pytest.mark.parametrize(
    ("searched", "error"),
    [(200, ForbiddenError), (400, ForbiddenError), (403, FhirRefusedError), (503, FhirUnavailableError)],
)
def test_refusal_concerns_one_message_unless_a_search_is_refused_too(
    inbound: Inbound, httpserver: HTTPServer, searched: int, error: type[Exception]
) -> None:
    httpserver.expect_request("/fhir/Communication/m-1").respond_with_data(b"", 403)
    httpserver.expect_request(QUERY).respond_with_json({"resourceType": "Bundle"}, searched)

    with pytest.raises(error) as raised:
        inbound.read("Communication/m-1")

    assert type(raised.value) is error


@pytest.mark.parametrize("status", [401, 403])
def test_message_is_read_without_the_photo_that_the_server_does_not_give(
    inbound: Inbound, httpserver: HTTPServer, status: int
) -> None:
    references = [{"contentReference": {"reference": each}} for each in ("Binary/b-1", "Binary/b-2", "Media/m-3")]
    _serve(httpserver, payload=references)
    httpserver.expect_request(re.compile("/fhir/(Binary/b-2|Media/m-3)")).respond_with_data(b"", status)

    if status == 401:
        with pytest.raises(FhirRefusedError):
            inbound.read("Communication/m-1")
        return
    found = inbound.read("Communication/m-1")
    assert found.message is not None
    assert [photo.error_code for photo in found.message.attachments] == [None, *[ErrorCode.FETCH_FAILED] * 2]


def test_photo_is_too_large_when_those_before_it_fill_the_message(inbound: Inbound, httpserver: HTTPServer) -> None:
    names = [f"Binary/{name}" for name in ("b-1", "b-2", "large", "small")]
    _serve(httpserver, payload=[{"contentReference": {"reference": each}} for each in names])
    for name, data in (("b-2", PHOTO[:-1]), ("large", PHOTO), ("small", b"1")):
        httpserver.expect_request(f"/fhir/Binary/{name}").respond_with_data(data, content_type="image/jpeg")

    found = inbound.read("Communication/m-1")

    assert found.message is not None
    codes = [photo.error_code for photo in found.message.attachments]
    assert codes == [None, None, ErrorCode.TOO_LARGE, None]


def test_message_is_read_without_the_thread_that_the_server_does_not_give(
    inbound: Inbound, httpserver: HTTPServer
) -> None:
    _serve(httpserver, inResponseTo=[{"reference": "Communication/hidden"}])
    httpserver.expect_request("/fhir/Communication/hidden").respond_with_data(b"", 403)

    found = inbound.read("Communication/m-1")
    assert found.message is not None
    assert found.message.thread == "Communication/hidden"


def test_malformed_language_is_replaced(inbound: Inbound, httpserver: HTTPServer) -> None:
    _serve(httpserver, language="español de México")

    found = inbound.read("Communication/m-1")
    assert found.message is not None
    assert found.message.locale == "en"


@pytest.mark.parametrize(
    "reference", ["Patient/7", "https://elsewhere.example/Communication/1", "../Communication/1", ""]
)
def test_nothing_but_a_communication_of_this_server_is_read(
    inbound: Inbound, httpserver: HTTPServer, reference: str
) -> None:
    with pytest.raises(UsageError, match="announce messages only"):
        inbound.read(reference)
    assert httpserver.log == []


def test_malformed_communication_and_busy_server_are_told_apart(inbound: Inbound, httpserver: HTTPServer) -> None:
    _serve(httpserver, payload="all")
    httpserver.expect_request("/fhir/Communication/busy").respond_with_data(b"", 429, headers={"Retry-After": "7"})

    with pytest.raises(UsageError, match="invalid Communication"):
        inbound.read("Communication/m-1")
    with pytest.raises(ServiceUnavailableError) as raised:
        inbound.read("Communication/busy")
    assert raised.value.retry_after == timedelta(seconds=7)


def test_search_has_the_configured_query_and_the_time_and_reads_all_pages(
    inbound: Inbound, httpserver: HTTPServer
) -> None:
    def page(*resources: dict[str, Any], following: str | None = None) -> dict[str, Any]:
        link = [{"relation": "next", "url": httpserver.url_for(following)}] if following else []
        return {"resourceType": "Bundle", "link": link, "entry": [{"resource": each} for each in resources]}

    first = {"resourceType": "Communication", "id": "1", "meta": {"versionId": "3"}}
    httpserver.expect_request(
        QUERY, query_string="category=notification&_lastUpdated=ge2026-11-29T14:04:05.678Z"
    ).respond_with_json(page(first, {"resourceType": "OperationOutcome", "id": "x"}, following="/fhir?page=2"))
    httpserver.expect_request("/fhir", query_string="page=2").respond_with_json(
        page({"resourceType": "Communication", "id": "2"}, {"resourceType": "Communication"})
    )

    assert inbound.find(SINCE) == {"Communication/1": "3", "Communication/2": None}


def test_search_uses_another_field_of_time_when_it_is_configured(http: httpx2.Client, httpserver: HTTPServer) -> None:
    httpserver.expect_request(QUERY, query_string="received=ge2026-11-29T14:04:05.678Z").respond_with_json(
        {"resourceType": "Bundle"}
    )

    assert _inbound(http, httpserver, "Communication", "received").find(SINCE) == {}


def test_nothing_is_searched_without_a_query(http: httpx2.Client, httpserver: HTTPServer) -> None:
    assert _inbound(http, httpserver, None).find(SINCE) == {}
    assert httpserver.log == []


def test_link_to_another_server_is_not_followed(inbound: Inbound, httpserver: HTTPServer) -> None:
    link = [{"relation": "next", "url": "http://127.0.0.1:1/fhir?page=2"}]
    httpserver.expect_request(QUERY).respond_with_json({"resourceType": "Bundle", "link": link})

    with pytest.raises(RejectedError, match="another address"):
        inbound.find(SINCE)


def test_answered_requests_are_those_with_an_identifier_of_this_product(
    inbound: Inbound, httpserver: HTTPServer
) -> None:
    ids = [str(new_id()) for _ in range(3)]
    identifiers = {
        "ours": [{"system": "urn:other", "value": ids[0]}, {"system": REQUEST_ID, "value": ids[1]}],
        "malformed": [{"system": REQUEST_ID, "value": "1"}, {"system": REQUEST_ID}],
        "others": [{"system": "urn:other", "value": ids[2]}],
    }
    for name, identifier in identifiers.items():
        httpserver.expect_request(f"/fhir/CommunicationRequest/{name}").respond_with_json(
            {"resourceType": "CommunicationRequest", "id": name, "identifier": identifier}
        )
    httpserver.expect_request("/fhir/CommunicationRequest/gone").respond_with_data(b"", 410)
    asked = {"system": REQUEST_ID, "value": ids[2]}
    httpserver.expect_request("/fhir/Communication/asking").respond_with_json(
        {"resourceType": "Communication", "id": "asking", "status": "completed", "identifier": [asked]}
    )
    references = [*(f"CommunicationRequest/{name}" for name in ("gone", *identifiers)), "ServiceRequest/1"]
    in_response_to = [{"reference": "Communication/asking"}]
    _serve(httpserver, basedOn=[{"reference": each} for each in references], inResponseTo=in_response_to)

    assert inbound.read("Communication/m-1").answers == [UUID(ids[1]), UUID(ids[2])]
