"""Photos that a message refers to, from a real server on this machine and from links to elsewhere."""

import re
from collections.abc import Iterator
from ipaddress import ip_network

import httpx2
import pytest
from pytest_httpserver import HTTPServer

from tests.unit.worker.fhir.server.test_client import Numbered
from triage.blobs.uris import UriPolicy
from triage.errors import AttachmentError, ErrorCode, ServiceUnavailableError
from worker.fhir.references import Target
from worker.fhir.server.client import FhirClient
from worker.fhir.server.ehr import Ehr
from worker.fhir.server.errors import FhirRefusedError


@pytest.fixture
def ehr(httpserver: HTTPServer) -> Iterator[Ehr]:
    uris = UriPolicy(
        [httpserver.url_for("/store")], max_bytes=9, local_networks=[ip_network("127.0.0.0/8")], fetch_seconds=2
    )
    with httpx2.Client(timeout=2, follow_redirects=False) as http:
        yield Ehr(FhirClient(http, httpserver.url_for("/fhir"), Numbered()), uris, max_bytes=9)


def test_redirect_is_followed_once_and_without_the_token(ehr: Ehr, httpserver: HTTPServer) -> None:
    signed = httpserver.url_for("/store/1.jpg?signature=1")
    httpserver.expect_request("/fhir/Binary/1").respond_with_data(b"", 307, headers={"Location": signed})
    httpserver.expect_request("/store/1.jpg", query_string="signature=1").respond_with_data(b"photo")

    assert ehr.content("Binary/1", "image/jpeg") == b"photo"

    first, second = (request for request, _ in httpserver.log)
    assert "Authorization" in first.headers
    assert "Authorization" not in second.headers


def test_link_to_elsewhere_is_read_without_the_token(ehr: Ehr, httpserver: HTTPServer) -> None:
    httpserver.expect_request("/store/1.jpg").respond_with_data(b"photo")

    assert ehr.content(httpserver.url_for("/store/1.jpg"), None) == b"photo"
    assert "Authorization" not in httpserver.log[0][0].headers


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("Binary/gone", ErrorCode.NOT_FOUND),
        ("Binary/missing", ErrorCode.NOT_FOUND),
        ("Binary/forbidden", ErrorCode.FETCH_FAILED),
        ("Binary/malformed", ErrorCode.FETCH_FAILED),
        ("Binary/unacceptable", ErrorCode.FETCH_FAILED),
        ("Binary/large", ErrorCode.TOO_LARGE),
        ("Binary/outcome", ErrorCode.CORRUPT),
        ("Binary/secret", ErrorCode.URI_NOT_ALLOWED),
        ("https://elsewhere.example/1.jpg", ErrorCode.URI_NOT_ALLOWED),
        ("Binary/../../other", ErrorCode.URI_NOT_ALLOWED),
        ("http://[bad", ErrorCode.URI_NOT_ALLOWED),
        ("Binary/\n", ErrorCode.URI_NOT_ALLOWED),
    ],
)
def test_photo_that_cannot_be_had_has_an_error_code(
    ehr: Ehr, httpserver: HTTPServer, url: str, code: ErrorCode
) -> None:
    httpserver.expect_request("/fhir/Binary/gone").respond_with_data(b"", 410)
    statuses = {"missing": 404, "forbidden": 403, "malformed": 400, "unacceptable": 406}
    for name, status in statuses.items():
        httpserver.expect_request(f"/fhir/Binary/{name}").respond_with_data(b"", status)
    httpserver.expect_request("/fhir/Binary/large").respond_with_data(bytes(10), content_type="image/png")
    httpserver.expect_request("/fhir/Binary/outcome").respond_with_json({"resourceType": "OperationOutcome"})
    metadata = "http://169.254.169.254/latest/meta-data"
    httpserver.expect_request("/fhir/Binary/secret").respond_with_data(b"", 302, headers={"Location": metadata})

    with pytest.raises(AttachmentError) as raised:
        ehr.content(url, None)

    assert raised.value.code is code


def test_message_is_read_again_later_when_a_server_does_not_answer(ehr: Ehr, httpserver: HTTPServer) -> None:
    httpserver.expect_request("/store/busy.jpg").respond_with_data(b"", 503)
    httpserver.expect_request("/fhir/Media/1").respond_with_data(b"", 503)

    with pytest.raises(ServiceUnavailableError):
        ehr.content(httpserver.url_for("/store/busy.jpg"), None)
    with pytest.raises(ServiceUnavailableError):
        ehr.resource(Target("Media", "1"))


@pytest.mark.parametrize(
    ("status", "code"), [(404, ErrorCode.NOT_FOUND), (403, ErrorCode.FETCH_FAILED), (422, ErrorCode.FETCH_FAILED)]
)
def test_resource_that_cannot_be_had_is_an_error_of_the_photo(
    ehr: Ehr, httpserver: HTTPServer, status: int, code: ErrorCode
) -> None:
    httpserver.expect_request("/fhir/Media/1").respond_with_data(b"", status)

    with pytest.raises(AttachmentError) as raised:
        ehr.resource(Target("Media", "1"))

    assert raised.value.code is code


def test_link_that_its_server_refuses_is_an_error_of_the_photo(ehr: Ehr, httpserver: HTTPServer) -> None:
    httpserver.expect_request("/store/expired.jpg").respond_with_data(b"", 403)

    with pytest.raises(AttachmentError) as raised:
        ehr.content(httpserver.url_for("/store/expired.jpg"), None)

    assert raised.value.code is ErrorCode.FETCH_FAILED


def test_client_is_refused_when_no_token_is_accepted(ehr: Ehr, httpserver: HTTPServer) -> None:
    httpserver.expect_request(re.compile("/fhir/.*")).respond_with_data(b"", 401)

    with pytest.raises(FhirRefusedError):
        ehr.content("Binary/1", None)
    with pytest.raises(FhirRefusedError):
        ehr.resource(Target("Media", "1"))
