"""Tokens of an OpenID-certified authorization server (oidc-provider) for this product's assertions."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from tests.interop.conftest import FOLDER
from worker.fhir.check.survey import survey
from worker.fhir.references import Target
from worker.fhir.server.bodies import JSON
from worker.fhir.server.connection import connect
from worker.fhir.server.errors import FhirRefusedError
from worker.fhir.server.smart import public_keys
from worker.setting_groups import FhirSettings

pytestmark = pytest.mark.long

SCOPES = "system/Communication.read system/Binary.read"


class Provider:
    """The authorization server, and the key that it knows."""

    def __init__(self, url: str, key: ECKey) -> None:
        self.url, self.key = url, key
        self.configuration = httpx2.get(f"{url}/.well-known/openid-configuration", trust_env=False).json()
        self.keys = KeySet.import_key_set(httpx2.get(self.configuration["jwks_uri"], trust_env=False).json())


@pytest.fixture
def provider(node: list[str], httpserver: HTTPServer) -> Iterator[Provider]:
    key = ECKey.generate_key("P-384")
    [jwk] = public_keys(key)["keys"]
    script = [*node, "smart_provider.mjs", json.dumps(jwk), SCOPES, httpserver.url_for("/fhir")]
    with subprocess.Popen(script, cwd=FOLDER, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        try:
            yield Provider(f"http://127.0.0.1:{int(process.stdout.readline())}", key)
        finally:
            process.terminate()


@pytest.fixture
def settings(provider: Provider, httpserver: HTTPServer, tmp_path: Path) -> FhirSettings:
    def show(request: Request) -> Response:
        token = jwt.decode(
            request.headers["Authorization"].removeprefix("Bearer "), provider.keys, algorithms=["ES256"]
        )
        granted = {"scope": token.claims["scope"], "for": token.claims["aud"]}
        return Response(json.dumps({"resourceType": "Communication", "id": "1", "granted": granted}), content_type=JSON)

    httpserver.expect_request("/fhir/.well-known/smart-configuration").respond_with_json(
        {"token_endpoint": provider.configuration["token_endpoint"]}
    )
    httpserver.expect_request("/fhir/metadata").respond_with_json({"fhirVersion": "4.0.1"})
    httpserver.expect_request("/fhir/Communication/1").respond_with_handler(show)
    (tmp_path / "key.pem").write_bytes(provider.key.as_pem(private=True))
    return FhirSettings(
        url=httpserver.url_for("/fhir"), client_id="triage", key_file=tmp_path / "key.pem", scopes=SCOPES
    )


def test_token_permits_what_was_asked_for(settings: FhirSettings) -> None:
    client = connect(settings)

    granted = client.read(Target("Communication", "1")).resource["granted"]

    client.close()
    assert granted == {"scope": SCOPES, "for": settings.url}


def test_check_names_the_scopes_that_are_not_granted(settings: FhirSettings) -> None:
    found = {each.name: each for each in survey(settings, None).abilities}

    missing = "system/DocumentReference.r system/Media.r system/CommunicationRequest.r"
    assert found["scopes granted"].detail == f"missing: {missing}"


def test_key_that_the_server_does_not_know_gets_no_token(settings: FhirSettings, tmp_path: Path) -> None:
    (tmp_path / "other.pem").write_bytes(ECKey.generate_key("P-384").as_pem(private=True))
    client = connect(settings.model_copy(update={"key_file": tmp_path / "other.pem"}))

    with pytest.raises(FhirRefusedError, match="register this client"):
        client.read(Target("Communication", "1"))
    client.close()
