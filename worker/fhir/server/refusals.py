"""What an answer that is not a success means: one of few errors."""

import re
from typing import Final

import httpx2

from triage.errors import Fault
from worker.fhir.json_parts import dicts_of
from worker.fhir.server.bodies import JSON, is_json, media_type_of, read_json
from worker.fhir.server.errors import (
    ConflictError,
    FhirRefusedError,
    FhirUnavailableError,
    ForbiddenError,
    GoneError,
    NotThereError,
    RejectedError,
    TooLargeError,
    UnknownError,
)
from worker.retry_after import delay_of

MAX_OUTCOME_BYTES: Final = 2**20

_ABSENT: Final = frozenset({"not-found", "deleted"})
"""Codes of issues by which a server states that a resource does not exist."""
_GONE: Final = "the FHIR server has no such resource"
_CONFLICT: Final = frozenset({409, 412})
_CODE: Final = re.compile(r"[a-z-]{1,40}")


def error_of(response: httpx2.Response, *, is_about_one: bool) -> Exception:
    """The error of an answer.

    Args:
        response: not a success, and not read yet.
        is_about_one: a server that forbids the request may do so for this resource alone.
    """
    status = response.status_code
    if status == httpx2.codes.NOT_FOUND:
        return _not_found(response)
    if status == httpx2.codes.GONE:
        return GoneError(_GONE)
    if status in _CONFLICT:
        return ConflictError("the resource on the FHIR server was changed by others")
    if status == httpx2.codes.TOO_MANY_REQUESTS or response.is_server_error:
        return FhirUnavailableError(
            f"the FHIR server cannot answer now (status {status}): retry",
            retry_after=delay_of(response.headers.get("Retry-After")),
        )
    if status == httpx2.codes.FORBIDDEN and is_about_one:
        return ForbiddenError("the FHIR server does not give a resource: permit this client to read it", status)
    if status in {httpx2.codes.UNAUTHORIZED, httpx2.codes.FORBIDDEN}:
        return FhirRefusedError("the FHIR server refuses this client: give it the scopes that it needs", Fault.REFUSED)
    reasons = "".join(f", {code}" for code in _issues(response))
    return RejectedError(f"the FHIR server does not accept the request (status {status}{reasons})", status)


def _not_found(response: httpx2.Response) -> NotThereError:
    issues = set(_issues(response))
    if _ABSENT & issues:
        return GoneError(_GONE)
    kind = UnknownError if issues and media_type_of(response) == JSON else NotThereError
    return kind("nothing is at this address of the FHIR server: check the base and the proxies before it")


def _issues(response: httpx2.Response) -> list[str]:
    """The codes of an OperationOutcome. Its texts may quote the patient's data."""
    try:
        outcome = read_json(response, MAX_OUTCOME_BYTES) if is_json(response) else {}
    except (RejectedError, TooLargeError, httpx2.RequestError):
        return []
    issues = dicts_of(outcome, "issue") if outcome.get("resourceType") == "OperationOutcome" else []
    return [code for issue in issues[:5] if _CODE.fullmatch(code := str(issue.get("code")))]
