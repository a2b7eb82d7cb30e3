"""The EHR's FHIR server as an operator meets it: `triage fhir`."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest
from joserfc.jwk import ECKey, RSAKey
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


def test_public_keys_are_printed_for_registration_with_the_next_key_during_a_rotation(
    triage: Triage, environment: Callable[[str, str], None], tmp_path: Path
) -> None:
    old, new = ECKey.generate_key("P-384"), RSAKey.generate_key(2048)
    for name, key in (("old", old), ("new", new)):
        (tmp_path / name).write_bytes(key.as_pem(private=True))
    first = triage("fhir", "keys", tmp_path / "old")
    for name, value in {"URL": "http://127.0.0.1:9", "CLIENT_ID": "triage", "KEY_FILE": str(tmp_path / "old")}.items():
        environment(f"FHIR__{name}", value)

    both = triage("fhir", "keys", tmp_path / "new")

    assert (first.code, both.code) == (0, 0)
    assert [each["kid"] for each in first.json["keys"]] == [old.thumbprint()]
    found = [(each["kid"], each["alg"], each["use"]) for each in both.json["keys"]]
    assert found == [(old.thumbprint(), "ES384", "sig"), (new.thumbprint(), "RS384", "sig")]
    assert not {"d", "p", "q", "dp", "dq", "qi"} & {name for each in both.json["keys"] for name in each}


@pytest.mark.parametrize(
    ("content", "code", "complaint"),
    [
        (None, 2, "no key for the FHIR server is configured"),
        ("", 2, "the key for the FHIR server is not usable"),
        ("missing", 2, "the key for the FHIR server cannot be read"),
    ],
)
def test_keys_end_in_one_line_when_there_is_no_usable_key(
    triage: Triage, tmp_path: Path, content: str | None, code: int, complaint: str
) -> None:
    if content == "":
        (tmp_path / "key").write_text(content)

    result = triage("fhir", "keys", *([tmp_path / "key"] if content is not None else []))

    assert (result.code, result.out) == (code, "")
    assert result.complaint().startswith(f"triage: {complaint}")
