from pathlib import Path

from worker.api.openapi import openapi, text_of
from worker.api.subjects import SUBJECTS

ENDPOINTS = [endpoint for subject in SUBJECTS for endpoint in subject.declared]


def test_committed_description_equals_the_endpoints() -> None:
    """`make schemas` writes it again."""
    assert text_of(openapi(SUBJECTS)) == Path("docs/schemas/openapi.json").read_text(encoding="utf-8")


def test_every_endpoint_but_the_probes_needs_a_scope() -> None:
    assert {endpoint.path for endpoint in ENDPOINTS if endpoint.scope is None} == {
        "/livez",
        "/readyz",
        "/.well-known/smart-configuration",
        "/auth/token",
        "/fhir/metadata",
        "/fhir/.well-known/smart-configuration",
        "/fhir/StructureDefinition/{name}",
        "/fhir/CodeSystem/{name}",
    }


def test_every_endpoint_is_described_by_its_name_and_a_sentence() -> None:
    names = [endpoint.name for endpoint in ENDPOINTS]
    assert len(set(names)) == len(names)
    assert all((endpoint.handler.__doc__ or "").partition("\n")[0].endswith(".") for endpoint in ENDPOINTS)


def test_every_part_of_a_path_is_a_parameter_of_its_function() -> None:
    for endpoint in ENDPOINTS:
        assert [part[1:-1] for part in endpoint.path.split("/") if part.startswith("{")] == list(endpoint.parts)
