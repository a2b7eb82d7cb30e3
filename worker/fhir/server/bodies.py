"""Reads the bodies of answers, bytes or JSON, within limits of size and of time."""

import json
import time
from collections.abc import Mapping
from typing import Any, Final

import httpx2

from worker.fhir.server.errors import FhirUnavailableError, RejectedError, TooLargeError

JSON: Final = "application/fhir+json"
MAX_JSON_BYTES: Final = 128 * 2**20
"""Of one answer: photos may be inline, in base64."""

ANSWER_SECONDS: Final = 120.0
"""For one body. A server that sends a byte now and then keeps the time limit of each step."""


def read_body(response: httpx2.Response, max_bytes: int, *, seconds: float = ANSWER_SECONDS) -> bytes:
    """The body of an answer that is not read yet.

    Args:
        response: opened as a stream.
        max_bytes: limit of the decoded bytes.
        seconds: time limit.

    Raises:
        TooLargeError: there are more bytes.
        FhirUnavailableError: it takes longer.
    """
    deadline = time.monotonic() + seconds
    body = bytearray()
    for chunk in response.iter_bytes():
        body += chunk
        if len(body) > max_bytes:
            raise TooLargeError
        if time.monotonic() > deadline:
            raise FhirUnavailableError("the answer of the FHIR server takes too long: retry")
    return bytes(body)


def media_type_of(response: httpx2.Response) -> str | None:
    """The declared media type of an answer, without parameters."""
    return response.headers.get("Content-Type", "").partition(";")[0].strip().lower() or None


def is_json(response: httpx2.Response) -> bool:
    """Whether an answer is declared as JSON."""
    return media_type_of(response) in {JSON, "application/json"}


def read_json(response: httpx2.Response, max_bytes: int) -> Mapping[str, Any]:
    """The JSON object in an answer.

    Raises:
        TooLargeError: the answer has more bytes.
        RejectedError: it is not a JSON object.
        FhirUnavailableError: it takes too long, or may be cut off.
    """
    body = read_body(response, max_bytes)
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        states_end = "Content-Length" in response.headers or "Transfer-Encoding" in response.headers
        if not states_end:
            raise FhirUnavailableError("the answer of the FHIR server may be cut off: retry") from error
        raise RejectedError("the FHIR server's answer is not JSON", response.status_code) from error
    if not isinstance(found, dict):
        raise RejectedError("the FHIR server's answer is not a resource", response.status_code)
    return found


def read_resource(response: httpx2.Response) -> Mapping[str, Any]:
    """A resource in an answer.

    Raises:
        RejectedError: the answer is not a JSON object, or has more than `MAX_JSON_BYTES`.
        FhirUnavailableError: it takes too long, may be cut off, or is not declared as JSON.
    """
    if not is_json(response):
        raise no_fhir_server()
    try:
        return read_json(response, MAX_JSON_BYTES)
    except TooLargeError as error:
        raise RejectedError("the FHIR server's answer is too long", response.status_code) from error


def no_fhir_server() -> FhirUnavailableError:
    """The error of an answer that succeeds with what no FHIR server sends, such as a page to log in."""
    return FhirUnavailableError(
        "the answer is not that of a FHIR server: check the base and the proxies before it, then retry"
    )
