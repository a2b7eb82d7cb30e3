"""What a FHIR client asks first, without authentication: what the server does, how to get a token, its definitions."""

from starlette.responses import Response

from triage.errors import NotFoundError
from worker.api.endpoint import Call, Endpoints
from worker.api.fhir_dialect import FHIR, ROOT, resource_response
from worker.api.smart import configuration, token_url
from worker.documents.tokens import SmartConfigurationDocument
from worker.fhir.endpoint.published import capability_statement, definitions
from worker.logging import release

FHIR_DEFINITIONS = Endpoints("fhir definitions", FHIR)


@FHIR_DEFINITIONS.endpoint("GET", f"{ROOT}/metadata", scope=None)
async def read_capabilities(call: Call) -> Response:
    """Read what the server does, as a CapabilityStatement."""
    base = f"{call.shared.base_url}{ROOT}"
    return resource_response(capability_statement(base, token_url=token_url(call), release=release()))


@FHIR_DEFINITIONS.endpoint("GET", f"{ROOT}/.well-known/smart-configuration", scope=None)
async def read_smart_configuration(call: Call) -> SmartConfigurationDocument:
    """Read where and how a client gets an access token."""
    return configuration(call)


@FHIR_DEFINITIONS.endpoint("GET", f"{ROOT}/StructureDefinition/{{name}}", scope=None)
async def read_profile(call: Call, name: str) -> Response:  # noqa: ARG001  # the signature of all endpoints
    """Read a profile."""
    return _definition("StructureDefinition", name)


@FHIR_DEFINITIONS.endpoint("GET", f"{ROOT}/CodeSystem/{{name}}", scope=None)
async def read_code_system(call: Call, name: str) -> Response:  # noqa: ARG001  # the signature of all endpoints
    """Read a code system."""
    return _definition("CodeSystem", name)


def _definition(kind: str, name: str) -> Response:
    found = definitions().get((kind, name))
    if found is None:
        raise NotFoundError("no definition has this id: check it")
    return resource_response(found)
