"""The conventions of FHIR R4 over HTTP: resources as JSON, and an OperationOutcome for every failure.

Source: https://hl7.org/fhir/R4/http.html.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, NoReturn

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from worker.api.limits import check_elements
from worker.api.problems import Dialect, Failure, RequestError
from worker.codes import Code
from worker.fhir.endpoint.outcomes import outcome_of_failure
from worker.fhir.server.bodies import JSON

ROOT: Final = "/fhir"
_MAX_ELEMENTS: Final = 200_000
_PLAIN_JSON: Final = "application/json"
_TAKEN: Final = frozenset({JSON, _PLAIN_JSON})
_NAMES: Final = _TAKEN | {"json", "text/json"}
_RANGES: Final = _TAKEN | {"*/*", "application/*", "text/json"}


def resource_response(
    resource: Mapping[str, Any] | None, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """A resource as the answer; without one, an empty answer."""
    if resource is None:
        return Response(status_code=status, headers=headers)
    return JSONResponse(resource, status, headers, media_type=JSON)


async def read_body(request: Request) -> bytes:
    """The body of a request with a resource.

    Raises:
        RequestError: the body is not declared as JSON, or is too long.
    """
    declared = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if declared not in _TAKEN or request.headers.get("content-encoding", "identity") != "identity":
        raise RequestError(Code.UNSUPPORTED_TYPE, f"the body is not declared as plain {JSON}: send JSON, uncompressed")
    return await request.body()


def resource_in(body: bytes) -> dict[str, Any]:
    """The resource in a body. Parsing takes long enough to delay other requests: call this in a thread.

    Raises:
        RequestError: the body is not a resource as JSON, or has too many elements.
    """
    check_elements(body, _MAX_ELEMENTS)
    try:
        resource = json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise RequestError(Code.INVALID, "invalid body: it is not JSON") from None
    if not isinstance(resource, dict):
        raise RequestError(Code.INVALID, "invalid body: it is no resource")
    return resource


def _refuse_constant(_: str) -> NoReturn:
    raise ValueError("NaN and Infinity are not JSON")


def _failure(failure: Failure) -> Response:
    outcome = outcome_of_failure(failure.code, failure.detail)
    return resource_response(outcome, failure.status.value, failure.headers)


def _check(request: Request) -> None:
    """Refuses requests for other formats than JSON: `_format` counts before the header `Accept`.

    Raises:
        RequestError: the format is not JSON.
    """
    wanted = request.query_params.get("_format")
    accepted = _is_json(wanted) if wanted is not None else _accepts_json(request.headers)
    if not accepted:
        raise RequestError(Code.NOT_ACCEPTABLE, f"this server has JSON only: accept {JSON}")


def _is_json(name: str) -> bool:
    return _media_type(name).replace(" ", "+") in _NAMES  # an unescaped + of a query arrives as a space


def _accepts_json(headers: Headers) -> bool:
    accepted: Sequence[str] = [each for line in headers.getlist("accept") for each in line.split(",") if each.strip()]
    return not accepted or any(_media_type(each) in _RANGES for each in accepted)


def _media_type(text: str) -> str:
    return text.partition(";")[0].strip().lower()


FHIR: Final = Dialect(root=ROOT, index=f"{ROOT}/metadata", failure=_failure, check=_check)
"""The dialect of the endpoints below `/fhir`."""
