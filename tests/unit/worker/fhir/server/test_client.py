"""A FHIR client against a real server on this machine that answers well, badly or not at all."""

import base64
import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any

import httpx2
import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Response

from triage.errors import UsageError
from worker.fhir.content import AnotherTypeError
from worker.fhir.references import Target
from worker.fhir.server.bodies import JSON
from worker.fhir.server.client import Elsewhere, FhirClient
from worker.fhir.server.errors import (
    ConflictError,
    FhirRefusedError,
    FhirUnavailableError,
    ForbiddenError,
    GoneError,
    NotThereError,
    RejectedError,
    TooLargeError,
    UnknownError,
)

MESSAGE = {"resourceType": "Communication", "id": "1", "status": "completed"}
TARGET = Target("Communication", "1")


class Numbered:
    """Credentials whose tokens are numbered."""

    def __init__(self) -> None:
        self.number = 1

    def header(self) -> Mapping[str, str]:
        return {"Authorization": f"Bearer token-{self.number}"}

    def forget(self) -> None:
        self.number += 1


@pytest.fixture
def client(httpserver: HTTPServer) -> Iterator[FhirClient]:
    with httpx2.Client(timeout=2, follow_redirects=False) as http:
        yield FhirClient(http, httpserver.url_for("/fhir"), Numbered())


def _answer(resource: object, status: int = 200, **headers: str) -> Response:
    return Response(json.dumps(resource), status, headers=headers, content_type=f"{JSON}; charset=utf-8")


def test_resource_is_read_with_its_version(client: FhirClient, httpserver: HTTPServer) -> None:
    httpserver.expect_request(
        "/fhir/Communication/1", headers={"Authorization": "Bearer token-1"}
    ).respond_with_response(_answer(MESSAGE, ETag='W/"a-uuid"'))

    stored = client.read(TARGET)

    assert (stored.resource, stored.target, stored.etag) == (MESSAGE, TARGET, 'W/"a-uuid"')


def test_condition_is_sent_and_a_new_resource_told_from_one_that_was_there(
    client: FhirClient, httpserver: HTTPServer
) -> None:
    condition = "identifier=urn:x|1"
    headers = {"If-None-Exist": condition, "Content-Type": JSON}
    location = httpserver.url_for("/fhir/Communication/1/_history/1")
    for status in (201, 200):
        httpserver.expect_ordered_request(
            "/fhir/Communication", method="POST", headers=headers, json=MESSAGE
        ).respond_with_data(b"", status, headers={"Location": location})

    created, found = (client.create(MESSAGE, unless=condition) for _ in range(2))

    assert (created.is_new, found.is_new) == (True, False)
    assert created.target == found.target == TARGET


@pytest.mark.parametrize("body", [b"", b"\n", b"{", b"[]"])
def test_resource_is_written_when_the_body_of_the_answer_cannot_be_read(
    client: FhirClient, httpserver: HTTPServer, body: bytes
) -> None:
    headers = {"Location": httpserver.url_for("/fhir/Communication/1")}
    answer = Response(body, 201, headers, content_type=JSON)
    httpserver.expect_request("/fhir/Communication", method="POST").respond_with_response(answer)
    httpserver.expect_request("/fhir/Communication/1", method="PUT").respond_with_response(answer)
    httpserver.expect_request("/fhir/Communication/1", method="GET").respond_with_response(answer)

    created, updated = client.create(MESSAGE), client.update(MESSAGE)

    assert (created.is_new, created.target, created.resource) == (True, TARGET, {})
    assert (updated.target, updated.resource) == (TARGET, {})
    with pytest.raises(RejectedError):
        client.read(TARGET)


def test_pages_are_followed_on_the_own_server_only(client: FhirClient, httpserver: HTTPServer) -> None:
    def page(number: int, following: str | None) -> dict[str, Any]:
        entries = [{"resource": {"id": str(number)}}, {"resource": {"id": "x"}, "search": {"mode": "outcome"}}]
        return {"entry": entries, "link": [{"relation": "next", "url": following}] if following else []}

    second = httpserver.url_for("/fhir?page=2")
    httpserver.expect_request("/fhir/Communication", query_string="a=1").respond_with_response(_answer(page(1, second)))
    httpserver.expect_request("/fhir", query_string="page=2").respond_with_response(
        _answer(page(2, httpserver.url_for("/other?page=3")))
    )
    found = client.search("Communication?a=1")

    assert [next(found)["id"], next(found)["id"]] == ["1", "2"]
    with pytest.raises(RejectedError, match="another address"):
        next(found)


def test_token_is_made_anew_once_when_the_server_refuses_it(client: FhirClient, httpserver: HTTPServer) -> None:
    httpserver.expect_request(
        "/fhir/Communication/1", headers={"Authorization": "Bearer token-2"}
    ).respond_with_response(_answer(MESSAGE))
    httpserver.expect_request("/fhir/Communication/1").respond_with_data(b"", 401)

    assert client.read(TARGET).resource == MESSAGE


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, RejectedError),
        (401, FhirRefusedError),
        (403, ForbiddenError),
        (404, UnknownError),
        (409, ConflictError),
        (405, RejectedError),
        (406, RejectedError),
        (410, GoneError),
        (412, ConflictError),
        (415, RejectedError),
        (422, RejectedError),
        (302, RejectedError),
        (429, FhirUnavailableError),
        (500, FhirUnavailableError),
    ],
)
def test_answer_of_the_server_is_one_of_few_errors(
    client: FhirClient, httpserver: HTTPServer, status: int, error: type[Exception]
) -> None:
    outcome = {
        "resourceType": "OperationOutcome",
        "issue": [{"code": "invariant", "diagnostics": "Ana Diaz"}, {"code": "Ana Diaz"}],
    }
    httpserver.expect_request("/fhir/Communication/1").respond_with_response(_answer(outcome, status, Location="/x"))

    with pytest.raises(error) as raised:
        client.read(TARGET)

    assert type(raised.value) is error
    assert "Ana" not in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("body", "kind", "error"),
    [
        ({"resourceType": "OperationOutcome", "issue": [{"code": "not-found"}]}, JSON, GoneError),
        ({"resourceType": "OperationOutcome", "issue": [{"code": "x"}, {"code": "deleted"}]}, JSON, GoneError),
        ({"resourceType": "OperationOutcome", "issue": [{"code": "not-found"}]}, "text/html", NotThereError),
        ({"resourceType": "OperationOutcome", "issue": [{"code": "processing"}]}, JSON, UnknownError),
        ({"resourceType": "OperationOutcome", "issue": [{"code": "processing"}]}, "application/json", NotThereError),
        ({"resourceType": "Bundle", "issue": [{"code": "not-found"}]}, JSON, NotThereError),
        ({"resourceType": "OperationOutcome", "issue": "not-found"}, JSON, NotThereError),
        ("not-found", JSON, NotThereError),
    ],
)
def test_resource_is_absent_only_when_the_server_states_it(
    client: FhirClient, httpserver: HTTPServer, body: object, kind: str, error: type[Exception]
) -> None:
    httpserver.expect_request("/fhir/Communication/1").respond_with_response(
        Response(json.dumps(body), 404, content_type=kind)
    )

    with pytest.raises(NotThereError) as raised:
        client.read(TARGET)

    assert type(raised.value) is error


def test_refusal_concerns_the_client_when_no_single_resource_is_asked_for(
    client: FhirClient, httpserver: HTTPServer
) -> None:
    httpserver.expect_request(re.compile("/fhir/.*")).respond_with_data(b"", 403)

    for request in (client.capabilities, lambda: list(client.search("Communication")), lambda: client.create(MESSAGE)):
        with pytest.raises(FhirRefusedError):
            request()
    with pytest.raises(ForbiddenError):
        client.content("Binary/1", None, max_bytes=4)


@pytest.mark.parametrize(
    ("stated", "accepted"),
    [
        ("image/jpeg", "image/jpeg"),
        ("image/svg+xml; charset=utf-8", "image/svg+xml"),
        ("image/jpeg, text/html", "image/*"),
        ("image/jpeg\r\nX-Evil: 1", "image/*"),
        ("image/jp\u00e9g", "image/*"),
        ("image/" + "x" * 200, "image/*"),
        ("image/", "image/*"),
        ("", "image/*"),
    ],
)
def test_media_type_is_asked_for_only_when_it_is_one(
    client: FhirClient, httpserver: HTTPServer, stated: str, accepted: str
) -> None:
    httpserver.expect_request("/fhir/Binary/1").respond_with_data(b"photo", content_type="image/jpeg")

    assert client.content("Binary/1", stated, max_bytes=5) == b"photo"
    assert httpserver.log[0][0].headers["Accept"] == f"{accepted}, */*;q=0.5"


def test_delay_that_the_server_asks_for_is_known(client: FhirClient, httpserver: HTTPServer) -> None:
    httpserver.expect_request("/fhir/Communication/1").respond_with_data(b"", 503, headers={"Retry-After": "7"})

    with pytest.raises(FhirUnavailableError) as raised:
        client.read(TARGET)

    assert raised.value.retry_after == timedelta(seconds=7)


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"[" * 100_000, b"\xff", b'"text"'])
def test_answer_that_is_no_resource_is_refused(client: FhirClient, httpserver: HTTPServer, body: bytes) -> None:
    httpserver.expect_request("/fhir/Communication/1").respond_with_data(body, content_type=JSON)

    with pytest.raises(RejectedError, match=r"not JSON|not a resource"):
        client.read(TARGET)


def test_answer_that_is_cut_off_is_asked_for_again_later(client: FhirClient, httpserver: HTTPServer) -> None:
    cut_off = Response(iter([b"{"]), headers={"Content-Length": "1000", "Content-Type": JSON})
    httpserver.expect_request("/fhir/Communication/1").respond_with_response(cut_off)

    with pytest.raises(FhirUnavailableError):
        client.read(TARGET)


@pytest.mark.parametrize("status", [200, 400])
def test_answer_is_asked_for_again_later_when_its_compression_is_corrupt(
    client: FhirClient, httpserver: HTTPServer, status: int
) -> None:
    corrupt = Response(b"no gzip", status, headers={"Content-Encoding": "gzip", "Content-Type": JSON})
    httpserver.expect_request("/fhir/Communication/1").respond_with_response(corrupt)

    with pytest.raises(FhirUnavailableError if status == 200 else RejectedError):
        client.read(TARGET)
    httpserver.expect_request("/fhir/Communication").respond_with_response(corrupt)
    with pytest.raises(FhirUnavailableError if status == 200 else RejectedError):
        list(client.search("Communication"))


def test_server_that_is_not_there_is_unavailable() -> None:
    with httpx2.Client() as http, pytest.raises(FhirUnavailableError):
        FhirClient(http, "http://127.0.0.1:1/fhir", Numbered()).read(TARGET)


def test_bytes_are_read_raw_or_in_json(client: FhirClient, httpserver: HTTPServer) -> None:
    binary = {"resourceType": "Binary", "contentType": "image/jpeg", "data": base64.b64encode(b"photo").decode()}
    httpserver.expect_request("/fhir/Binary/raw").respond_with_data(b"photo", content_type="image/jpeg")
    httpserver.expect_request("/fhir/Binary/json").respond_with_response(_answer(binary))
    httpserver.expect_request("/fhir/Binary/picky", headers={"Accept": JSON}).respond_with_response(_answer(binary))
    httpserver.expect_request("/fhir/Binary/picky").respond_with_data(b"", 406)

    found = {client.content(f"Binary/{name}", "image/jpeg", max_bytes=10) for name in ("raw", "json", "picky")}

    assert found == {b"photo"}


def test_page_of_a_proxy_is_never_the_answer_of_the_server(client: FhirClient, httpserver: HTTPServer) -> None:
    httpserver.expect_request(re.compile("/fhir/.*")).respond_with_data("<h1>Log in</h1>", content_type="text/html")

    for request in (
        lambda: client.read(TARGET),
        lambda: client.create(MESSAGE, unless="identifier=1"),
        lambda: client.update(MESSAGE),
        lambda: list(client.search("Communication")),
        lambda: client.content("Binary/1", "image/jpeg", max_bytes=99),
        lambda: client.content("Binary/1", None, max_bytes=99),
        client.capabilities,
    ):
        with pytest.raises(FhirUnavailableError, match="not that of a FHIR server"):
            request()


@pytest.mark.parametrize("kind", ["text/html", "application/fhir+xml", None])
def test_resource_is_written_when_the_answer_is_empty(
    client: FhirClient, httpserver: HTTPServer, kind: str | None
) -> None:
    body = "<Communication/>" if kind == "application/fhir+xml" else ""
    httpserver.expect_request("/fhir/Communication/1").respond_with_data(body, 200, content_type=kind)

    assert client.update(MESSAGE).resource == {}


def test_content_is_of_another_type_when_the_server_and_not_the_message_states_one(
    client: FhirClient, httpserver: HTTPServer
) -> None:
    text = {"resourceType": "Binary", "contentType": "text/html", "data": base64.b64encode(b"<p>").decode()}
    httpserver.expect_request("/fhir/Binary/json").respond_with_response(_answer(text))
    httpserver.expect_request("/fhir/Binary/text", headers={"Accept": JSON}).respond_with_response(_answer(text))
    httpserver.expect_request("/fhir/Binary/text").respond_with_data("<p>", content_type="text/html")
    httpserver.expect_request("/fhir/Binary/pdf").respond_with_data(b"pdf", content_type="application/pdf")

    for name, data in (("json", b"<p>"), ("text", b"<p>"), ("pdf", b"pdf")):
        with pytest.raises(AnotherTypeError):
            client.content(f"Binary/{name}", None, max_bytes=10)
        assert client.content(f"Binary/{name}", "image/jpeg", max_bytes=10) == data


def test_bytes_are_not_read_beyond_the_limit(client: FhirClient, httpserver: HTTPServer) -> None:
    httpserver.expect_request("/fhir/Binary/1").respond_with_data(b"photo", content_type="image/jpeg")

    with pytest.raises(TooLargeError):
        client.content("Binary/1", None, max_bytes=4)


def test_json_is_not_read_beyond_the_limit_of_its_bytes(client: FhirClient, httpserver: HTTPServer) -> None:
    binary = {"resourceType": "Binary", "data": base64.b64encode(bytes(2**21)).decode()}
    httpserver.expect_request("/fhir/Binary/1").respond_with_response(_answer(binary))

    with pytest.raises(TooLargeError):
        client.content("Binary/1", None, max_bytes=4)


def test_redirect_of_bytes_is_reported_and_not_followed(client: FhirClient, httpserver: HTTPServer) -> None:
    elsewhere = "https://store.example/photo?signature=1"
    httpserver.expect_request("/fhir/Binary/1").respond_with_data(b"", 307, headers={"Location": elsewhere})

    assert client.content("Binary/1", None, max_bytes=4) == Elsewhere(elsewhere)
    assert len(httpserver.log) == 1


@pytest.mark.parametrize(
    "url",
    [
        "https://elsewhere.example/Binary/1",
        "//elsewhere.example/fhir/Binary/1",
        "../admin",
        "/other",
        "{base}/../other/Binary/1",
        "{base}/x/../../other/Binary/1",
        "{base}/%2e%2E/other/Binary/1",
        "{base}/..%2fother/Binary/1",
        "{base}/..;a=1/other/Binary/1",
        "{base}\\..\\other",
        "{base}/%5c..%5cother",
        "{base}er/Binary/1",
        "Binary/..",
        "http://[bad",
        "Binary/1\n",
        "Binary/\ud800",
    ],
)
def test_token_is_sent_to_no_other_address(client: FhirClient, httpserver: HTTPServer, url: str) -> None:
    with pytest.raises(RejectedError, match="another address"):
        client.content(url.format(base=client.base), None, max_bytes=4)

    assert not client.serves(url.format(base=client.base))
    assert not httpserver.log


def test_token_is_sent_to_no_other_address_when_a_next_page_climbs(client: FhirClient, httpserver: HTTPServer) -> None:
    page = {"entry": [], "link": [{"relation": "next", "url": f"{client.base}/../other?page=2"}]}
    httpserver.expect_request("/fhir/Communication").respond_with_response(_answer(page))

    with pytest.raises(RejectedError, match="another address"):
        list(client.search("Communication"))
    assert len(httpserver.log) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_of_a_resource_to_another_server_is_not_followed(
    client: FhirClient, httpserver: HTTPServer, status: int
) -> None:
    with HTTPServer() as elsewhere:
        elsewhere.expect_request(re.compile("/.*")).respond_with_json(MESSAGE)
        headers = {"Location": elsewhere.url_for("/fhir/Communication/1")}
        httpserver.expect_request(re.compile("/fhir/.*")).respond_with_data(b"", status, headers=headers)
        requests: list[Callable[[], object]] = [
            lambda: client.create(MESSAGE, unless="identifier=urn:x|1"),
            lambda: client.update(MESSAGE),
            lambda: client.read(TARGET),
            lambda: list(client.search("Communication")),
        ]
        for request in requests:
            with pytest.raises(RejectedError):
                request()

        assert (len(httpserver.log), elsewhere.log) == (4, [])


@pytest.mark.parametrize("url", ["", "?page=2", "Binary/1", "Binary/1?a=../b", "{base}", "{base}/Binary/a..b"])
def test_address_below_the_base_is_of_the_server(client: FhirClient, url: str) -> None:
    assert client.serves(url.format(base=client.base))


def test_address_is_of_the_server_when_it_is_only_written_differently() -> None:
    with httpx2.Client() as http:
        client = FhirClient(http, "https://ehr.example:443/fhir/", Numbered())

        assert client.serves("HTTPS://EHR.example/fhir/Binary/1")
        assert not client.serves("https://ehr.example:444/fhir/Binary/1")
        assert not client.serves("https://user@ehr.example/fhir/Binary/1")


def _redirecting(location: str, status: int) -> FhirClient:
    """A client of a server whose header the test server would correct."""
    transport = httpx2.MockTransport(lambda _: httpx2.Response(status, headers={"Location": location}))
    return FhirClient(httpx2.Client(transport=transport), "https://ehr.example/fhir", Numbered())


@pytest.mark.parametrize("location", ["http://[bad", "https://ehr.example:x/fhir/Communication/1"])
def test_location_is_unknown_when_it_is_malformed(location: str) -> None:
    assert _redirecting(location, 201).create(MESSAGE).target is None


def test_redirect_is_refused_when_its_address_is_malformed() -> None:
    with pytest.raises(RejectedError, match="malformed"):
        _redirecting("http://[bad", 307).content("Binary/1", None, max_bytes=4)


def test_malformed_binary_is_refused(client: FhirClient, httpserver: HTTPServer) -> None:
    httpserver.expect_request("/fhir/Binary/1").respond_with_response(_answer({"resourceType": "Binary", "data": 1}))

    with pytest.raises(UsageError, match="invalid Binary"):
        client.content("Binary/1", None, max_bytes=4)
