"""The codes of all failures, which every interface shows: as an exit code, a problem document or a rejection."""

from enum import StrEnum
from typing import Final

from triage.errors import (
    DefectError,
    LeaseLostError,
    ModelError,
    NotFoundError,
    ServiceRefusedError,
    ServiceUnavailableError,
    TriageError,
    UsageError,
)


class Code(StrEnum):
    """Why a call failed. Stable names: senders rely on them. The second group occurs in HTTP only."""

    INVALID = "invalid"
    NOT_FOUND = "not_found"
    LEASE_LOST = "lease_lost"
    FAILED = "failed"
    REFUSED = "refused"
    UNAVAILABLE = "unavailable"
    INTERNAL = "internal"

    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    TIMED_OUT = "timed_out"
    TOO_LARGE = "too_large"
    UNSUPPORTED_TYPE = "unsupported_type"
    TOO_MANY_REQUESTS = "too_many_requests"
    NOT_ACCEPTABLE = "not_acceptable"
    PRECONDITION_FAILED = "precondition_failed"
    UNPROCESSABLE = "unprocessable"


EXIT_CODES: Final = {
    Code.INVALID: 2,
    Code.NOT_FOUND: 2,
    Code.LEASE_LOST: 1,
    Code.FAILED: 1,
    Code.REFUSED: 2,
    Code.UNAVAILABLE: 3,
    Code.INTERNAL: 1,
}
"""Of commands; `worker.cli` says what they mean."""


def code_of(error: TriageError) -> Code:
    """The code of an error of this product."""
    match error:
        case ServiceRefusedError():
            return Code.REFUSED
        case ServiceUnavailableError():
            return Code.UNAVAILABLE
        case NotFoundError():
            return Code.NOT_FOUND
        case UsageError() | ModelError():
            return Code.INVALID
        case LeaseLostError():
            return Code.LEASE_LOST
        case DefectError():
            return Code.INTERNAL
    return Code.FAILED
