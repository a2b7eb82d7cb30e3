"""Failures as problem documents (RFC 9457), with the codes of all interfaces."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from starlette.responses import JSONResponse, Response

from triage.errors import TriageError
from worker.codes import Code, code_of
from worker.documents.problem import ProblemDocument

MEDIA_TYPE: Final = "application/problem+json"
RETRY_SECONDS: Final = 5

STATUS: Final = {
    Code.INVALID: HTTPStatus.BAD_REQUEST,
    Code.NOT_FOUND: HTTPStatus.NOT_FOUND,
    Code.LEASE_LOST: HTTPStatus.CONFLICT,
    Code.FAILED: HTTPStatus.CONFLICT,
    Code.REFUSED: HTTPStatus.SERVICE_UNAVAILABLE,
    Code.UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    Code.INTERNAL: HTTPStatus.INTERNAL_SERVER_ERROR,
    Code.UNAUTHENTICATED: HTTPStatus.UNAUTHORIZED,
    Code.FORBIDDEN: HTTPStatus.FORBIDDEN,
    Code.METHOD_NOT_ALLOWED: HTTPStatus.METHOD_NOT_ALLOWED,
    Code.TIMED_OUT: HTTPStatus.REQUEST_TIMEOUT,
    Code.TOO_LARGE: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    Code.UNSUPPORTED_TYPE: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    Code.TOO_MANY_REQUESTS: HTTPStatus.TOO_MANY_REQUESTS,
}
"""The HTTP status of each code."""

_HIDDEN: Final = {  # the error's own text is for administrators, who find it in the log
    Code.REFUSED: "a service behind this one is unavailable: retry later",
    Code.UNAVAILABLE: "a service behind this one is unavailable: retry later",
    Code.INTERNAL: "internal error: report this defect",
}


class RequestError(TriageError):
    """A request that is refused because of how it was sent, and not because of what a use case says."""

    def __init__(self, code: Code, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.code = code
        self.headers = dict(headers or {})


def problem(error: TriageError) -> Response:
    """The answer to a request that raised this error."""
    if isinstance(error, RequestError):
        return problem_response(error.code, str(error), error.headers)
    code = code_of(error)
    return problem_response(code, _HIDDEN.get(code, str(error)))


def problem_response(code: Code, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    status = STATUS[code]
    document = ProblemDocument(
        type="about:blank", title=status.phrase, status=status.value, code=code, detail=detail
    ).json_types()
    headers = dict(headers or {})
    if code in {Code.UNAVAILABLE, Code.REFUSED}:
        headers.setdefault("Retry-After", str(RETRY_SECONDS))
    return JSONResponse(document, status.value, headers, media_type=MEDIA_TYPE)
