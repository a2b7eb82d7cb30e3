"""Reads the bodies of answers within limits of size and of time."""

import time
from typing import Final

import httpx2

from worker.fhir.errors import FhirUnavailableError, TooLargeError

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
