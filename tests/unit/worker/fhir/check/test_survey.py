"""What `triage fhir check` finds out about a server, and the settings that it proposes."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import ECKey
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from triage.blobs.uris import UriPolicy
from triage.domain.abilities import Ability, Support, Survey
from triage.domain.limits import IntakeLimits
from triage.errors import UsageError
from worker.fhir.check.scopes import lacking, written
from worker.fhir.check.survey import survey
from worker.fhir.reading.inbound import Inbound
from worker.fhir.server.bodies import JSON
from worker.fhir.server.connection import connect
from worker.fhir.server.ehr import Ehr
from worker.fhir.server.errors import FhirRefusedError, FhirUnavailableError
from worker.setting_groups import FhirSettings

ALL = [{"code": code} for code in ("read", "create", "update", "search-type")]
SCOPES = "system/*.read system/Observation.write system/CommunicationRequest.write"


def _statement(**changes: Any) -> dict[str, Any]:
    kinds = (
        "Communication",
        "Binary",
        "Media",
        "DocumentReference",
        "Observation",
        "CommunicationRequest",
        "Subscription",
    )
    resources = [
        {
            "type": kind,
            "interaction": ALL,
            "conditionalCreate": True,
            "searchParam": [{"name": "_lastUpdated"}, {"name": "category"}, {"name": "received"}],
        }
        for kind in kinds
    ]
    return {
        "resourceType": "CapabilityStatement",
        "fhirVersion": "4.0.1",
        "format": ["application/fhir+json", "xml"],
        "rest": [{"mode": "server", "resource": resources}],
    } | changes


def _of_type(statement: dict[str, Any], kind: str) -> dict[str, Any]:
    resources: list[dict[str, Any]] = statement["rest"][0]["resource"]
    return next(each for each in resources if each["type"] == kind)


@pytest.fixture
def settings(httpserver: HTTPServer, tmp_path: Path) -> FhirSettings:
    key_file = tmp_path / "key.pem"
    key_file.write_bytes(ECKey.generate_key("P-384").as_pem(private=True))
    return FhirSettings(
        url=httpserver.url_for("/fhir"), client_id="triage", key_file=key_file, scopes=SCOPES, answers=True
    )


Serve = Callable[..., None]


@pytest.fixture
def serve(httpserver: HTTPServer) -> Serve:
    def serve(statement: dict[str, Any], *, granted: str | None = SCOPES, **smart: Any) -> None:
        httpserver.expect_request("/fhir/metadata").respond_with_json(statement)
        configuration = {"token_endpoint": httpserver.url_for("/token")} | smart
        httpserver.expect_request("/fhir/.well-known/smart-configuration").respond_with_json(configuration)
        if granted is None:
            httpserver.expect_request("/token").respond_with_json({"error": "invalid_client"}, 400)
        else:
            token = {"access_token": "t", "expires_in": 300, "scope": granted}
            httpserver.expect_request("/token").respond_with_json(token)

    return serve


def _find(found: Survey, name: str) -> Ability:
    return next(each for each in found.abilities if each.name == name)


def _lacking(found: Survey) -> list[str]:
    return [each.name for each in found.abilities if each.is_lacking]


def test_nothing_is_lacking_when_the_server_supports_all(settings: FhirSettings, serve: Serve) -> None:
    serve(_statement(), token_endpoint_auth_methods_supported=["private_key_jwt"], capabilities=None)

    found = survey(settings, None)

    assert found.is_sufficient
    assert {each.name for each in found.abilities if each.support is not Support.YES} == {"signatures by ES384"}
    assert found.fitting["TRIAGE_FHIR__ANSWERS"] == "true"
    assert found.fitting["TRIAGE_FHIR__POLL_CURSOR"] == "_lastUpdated"
    assert "system/Observation.write" in found.fitting["TRIAGE_FHIR__SCOPES"]


def test_other_settings_are_proposed_when_the_server_is_like_oracles(settings: FhirSettings, serve: Serve) -> None:
    statement = _statement()
    _of_type(statement, "Communication")["searchParam"] = [{"name": "category"}, {"name": "received"}]
    _of_type(statement, "Observation")["conditionalCreate"] = False
    serve(statement, token_endpoint_auth_signing_alg_values_supported=["RS384"], capabilities=["permission-v2"])
    searching = settings.model_copy(update={"poll_query": "Communication?recipient:Group=1&category=x"})

    found = survey(searching, None)

    assert _lacking(found) == [
        "Communication search by recipient",
        "Observation create with If-None-Exist",
        "signatures by ES384",
    ]
    assert _find(found, "Communication search by _lastUpdated").support is Support.UNKNOWN
    assert _find(found, "signatures by ES384").remedy == "set TRIAGE_FHIR__KEY_FILE to an RSA key"
    assert found.fitting["TRIAGE_FHIR__POLL_CURSOR"] == "received"
    assert found.fitting["TRIAGE_FHIR__ANSWERS"] == "false"
    assert found.fitting["TRIAGE_FHIR__SCOPES"].startswith("system/Communication.rs ")


def test_missing_scopes_are_named_when_the_token_has_fewer(settings: FhirSettings, serve: Serve) -> None:
    serve(_statement(), granted="system/Communication.rs system/Binary.read system/Observation.crus")

    found = _find(survey(settings, None), "scopes granted")

    assert found.is_lacking
    assert found.detail == "missing: system/DocumentReference.r system/Media.r system/CommunicationRequest.crus"


def test_refused_token_is_lacking(settings: FhirSettings, serve: Serve) -> None:
    serve(_statement(), granted=None)

    assert _lacking(survey(settings, None)) == ["token"]


def _search(httpserver: HTTPServer, **answers: tuple[int, int]) -> None:
    """Answers searches by cursor with a status and a number of messages."""

    def answer(request: Request) -> Response:
        cursor, *_ = request.args
        status, number = answers[cursor]
        entries = [{"resource": {"resourceType": "Communication", "id": str(n)}} for n in range(number)]
        return Response(json.dumps({"resourceType": "Bundle", "entry": entries}), status, content_type=JSON)

    httpserver.expect_request("/fhir/Communication").respond_with_handler(answer)


def _inbound(settings: FhirSettings) -> Inbound:
    client = connect(settings)
    server = Ehr(client, UriPolicy([], max_bytes=9), 9)
    return Inbound(client, server, "ehr", IntakeLimits(), 9, settings.poll_query, settings.poll_cursor)


@pytest.mark.parametrize(
    ("found", "received", "remedy"),
    [
        (0, 200, None),
        (1, 200, "set TRIAGE_FHIR__POLL_CURSOR=received"),
        (1, 400, "unset TRIAGE_FHIR__POLL_QUERY: use a subscription"),
    ],
)
def test_search_is_lacking_when_the_server_ignores_its_time(
    settings: FhirSettings, serve: Serve, httpserver: HTTPServer, found: int, received: int, remedy: str | None
) -> None:
    serve(_statement())
    _search(httpserver, _lastUpdated=(200, found), received=(received, 0), sent=(400, 0))
    searching = settings.model_copy(update={"poll_query": "Communication"})

    ability = _find(survey(searching, _inbound(searching)), "configured search")

    assert ability.support is (Support.NO if remedy else Support.YES)
    assert ability.remedy == (remedy or "")


@pytest.mark.parametrize(
    ("status", "detail"), [(401, "refused"), (403, "refused"), (400, "rejected"), (404, "rejected")]
)
def test_search_is_lacking_when_the_server_does_not_accept_it(
    settings: FhirSettings, serve: Serve, httpserver: HTTPServer, status: int, detail: str
) -> None:
    serve(_statement())
    _search(httpserver, _lastUpdated=(status, 0))
    searching = settings.model_copy(update={"poll_query": "Communication"})

    found = _find(survey(searching, _inbound(searching)), "configured search")

    assert (found.support, found.detail) == (Support.NO, detail)
    assert found.remedy


@pytest.mark.parametrize(("status", "support"), [(403, Support.NO), (404, Support.YES)])
def test_reading_is_lacking_when_a_message_that_does_not_exist_is_refused(
    settings: FhirSettings, serve: Serve, httpserver: HTTPServer, status: int, support: Support
) -> None:
    serve(_statement())
    httpserver.expect_request(re.compile("/fhir/Communication/.+")).respond_with_data("", status)
    reading = settings.model_copy(update={"poll_query": None})

    found = _find(survey(reading, _inbound(reading)), "read of a message")

    assert found.support is support
    assert bool(found.remedy) is (support is Support.NO)


def test_other_server_gets_no_token_and_no_name(settings: FhirSettings, serve: Serve, httpserver: HTTPServer) -> None:
    serve(_statement())
    elsewhere = settings.model_copy(update={"url": "https://ehr.example/fhir"})

    found = survey(elsewhere, None, httpserver.url_for("/fhir"))

    assert _find(found, "token").support is Support.UNKNOWN
    assert not any("Authorization" in request.headers for request, _ in httpserver.log)
    assert {request.path for request, _ in httpserver.log} == {
        "/fhir/metadata",
        "/fhir/.well-known/smart-configuration",
    }


@pytest.mark.parametrize("statement", [{}, {"rest": None, "format": 1}, {"rest": [{"resource": [1, {"type": {}}]}]}])
def test_malformed_statement_is_no_error(settings: FhirSettings, serve: Serve, statement: dict[str, Any]) -> None:
    serve(statement)

    assert "FHIR R4" in _lacking(survey(settings, None))


def test_address_without_a_server_is_one_line(settings: FhirSettings, httpserver: HTTPServer) -> None:
    httpserver.expect_request("/elsewhere/metadata").respond_with_data("", 404)

    with pytest.raises(UsageError, match="no FHIR server is at this address"):
        survey(settings, None, httpserver.url_for("/elsewhere"))
    httpserver.expect_request("/picky/metadata").respond_with_data("", 406)
    with pytest.raises(UsageError, match="status 406"):
        survey(settings, None, httpserver.url_for("/picky"))
    httpserver.expect_request("/closed/metadata").respond_with_data("", 403)
    with pytest.raises(FhirRefusedError):
        survey(settings, None, httpserver.url_for("/closed"))
    with pytest.raises(FhirUnavailableError, match="does not answer"):
        survey(settings, None, "http://127.0.0.1:9/fhir")
    with pytest.raises(UsageError, match="give the URL"):
        survey(FhirSettings(), None)


def test_scopes_of_both_versions_permit_the_same() -> None:
    needed = {"Binary": "r", "Observation": "crus"}

    for version in (1, 2):
        assert lacking(written(needed, version=version).split(), needed) == []
    assert lacking(["system/*.*"], needed) == lacking(["system/*.cruds?x=y"], needed) == []
    assert lacking(["user/*.*", "system/Binary.x", "openid"], needed) == ["system/Binary.r", "system/Observation.crus"]
