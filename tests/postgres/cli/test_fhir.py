"""The EHR's FHIR server as an operator meets it: `triage fhir`."""

from collections.abc import Callable
from typing import TypeAlias

from pytest_httpserver import HTTPServer

from tests.support.command_line import Result

Triage: TypeAlias = Callable[..., Result]


def test_operator_checks_a_server(triage: Triage, httpserver: HTTPServer) -> None:
    httpserver.expect_request("/fhir/metadata").respond_with_json({"fhirVersion": "5.0.0"})
    httpserver.expect_request("/fhir/.well-known/smart-configuration").respond_with_data("", 404)
    url = httpserver.url_for("/fhir")

    shown, document = triage("fhir", "check", url), triage("fhir", "check", url, "--json")

    assert (shown.code, document.code) == (1, 1)
    assert "settings that fit this server:\nTRIAGE_FHIR__ANSWERS=false\n" in shown.out
    assert document.json["abilities"][0] == {
        "name": "FHIR R4",
        "supported": "no",
        "needed": True,
        "detail": "5.0.0",
        "remedy": "set TRIAGE_FHIR__URL to the base of the R4 version (4.0.1)",
    }


def test_check_ends_in_one_line_when_there_is_no_server(triage: Triage) -> None:
    nowhere = triage("fhir", "check", "http://127.0.0.1:9/fhir")
    malformed = triage("fhir", "check", "ehr.example")
    unset = triage("fhir", "check")

    assert (nowhere.code, malformed.code, unset.code) == (3, 2, 2)
    assert nowhere.complaint().startswith("triage: the FHIR server does not answer")
    assert malformed.complaint().startswith("triage: invalid URL")
    assert unset.complaint() == "triage: no FHIR server is configured: give the URL of one"
