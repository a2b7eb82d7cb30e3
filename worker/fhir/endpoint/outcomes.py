"""OperationOutcome: why a request failed, or what became of it.

Source: https://hl7.org/fhir/R4/operationoutcome.html.
"""

from typing import Any, Final

from worker.codes import Code
from worker.fhir import terms

_ISSUES: Final = {
    Code.INVALID: "invalid",
    Code.NOT_FOUND: "not-found",
    Code.LEASE_LOST: "conflict",
    Code.FAILED: "processing",
    Code.REFUSED: "transient",
    Code.UNAVAILABLE: "transient",
    Code.INTERNAL: "exception",
    Code.UNAUTHENTICATED: "login",
    Code.FORBIDDEN: "forbidden",
    Code.METHOD_NOT_ALLOWED: "not-supported",
    Code.TIMED_OUT: "timeout",
    Code.TOO_LARGE: "too-long",
    Code.UNSUPPORTED_TYPE: "not-supported",
    Code.TOO_MANY_REQUESTS: "throttled",
    Code.NOT_ACCEPTABLE: "not-supported",
    Code.PRECONDITION_FAILED: "conflict",
    Code.UNPROCESSABLE: "processing",
}
"""The code of FHIR (http://hl7.org/fhir/issue-type) for each code of this product."""


def outcome_of_failure(code: Code, detail: str) -> dict[str, Any]:
    """A failure with its code of this product.

    Args:
        code: of the failure.
        detail: one line for people, without patient data.
    """
    details = {"coding": [{"system": terms.ERROR_CODE, "code": code.value}]}
    return _outcome({"severity": "error", "code": _ISSUES[code], "details": details, "diagnostics": detail})


def outcome_of_success(*remarks: str) -> dict[str, Any]:
    """What became of a request that succeeded, one line each."""
    return _outcome(*({"severity": "information", "code": "informational", "diagnostics": each} for each in remarks))


def _outcome(*issues: dict[str, Any]) -> dict[str, Any]:
    return {"resourceType": "OperationOutcome", "issue": list(issues)}
