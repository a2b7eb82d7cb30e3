"""Failures of requests, with the codes of all interfaces: as problem documents (RFC 9457), or in another dialect."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final, Self

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from triage.errors import Fault, ServiceUnavailableError, TriageError
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
    Code.NOT_ACCEPTABLE: HTTPStatus.NOT_ACCEPTABLE,
    Code.PRECONDITION_FAILED: HTTPStatus.PRECONDITION_FAILED,
    Code.UNPROCESSABLE: HTTPStatus.UNPROCESSABLE_ENTITY,
}
"""The HTTP status of each code."""

_TITLES: Final = {
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "Content Too Large",
    HTTPStatus.UNPROCESSABLE_ENTITY: "Unprocessable Content",
}
"""Names of RFC 9110 that Python has from 3.13 on."""

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


@dataclass(frozen=True, slots=True)
class Failure:
    """What a failed request is answered, in any dialect.

    Attributes:
        detail: one line for people, without patient data.
    """

    code: Code
    detail: str
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, error: TriageError) -> Self:
        """The answer to a request that raised this error."""
        if isinstance(error, RequestError):
            return cls(error.code, str(error), error.headers)
        code = code_of(error)
        if is_too_slow(error):  # no Retry-After: the same request would take as long again
            return cls(code, "the database needs too long for this: ask for a shorter period")
        headers = {"Retry-After": str(RETRY_SECONDS)} if code in {Code.UNAVAILABLE, Code.REFUSED} else {}
        return cls(code, _HIDDEN.get(code, str(error)), headers)

    @property
    def status(self) -> HTTPStatus:
        return STATUS[self.code]


@dataclass(frozen=True, slots=True)
class Dialect:
    """The conventions of a group of endpoints beyond their documents.

    Attributes:
        root: all paths below it belong to the group, also those that do not exist; "" for all others.
        index: the path that describes the endpoints.
        failure: makes the answer to a request that failed.
        check: refuses requests for other representations, by a `RequestError`.
    """

    root: str
    index: str
    failure: Callable[[Failure], Response]
    check: Callable[[Request], None] = lambda _: None

    def has(self, path: str) -> bool:
        """Whether a path belongs to the group."""
        return not self.root or path == self.root or path.startswith(f"{self.root}/")


def is_too_slow(error: Exception) -> bool:
    """Whether a statement was cancelled because it took too long."""
    return isinstance(error, ServiceUnavailableError) and error.kind is Fault.TOO_SLOW


def title_of(status: HTTPStatus) -> str:
    """The name of a status in RFC 9110, the same on every Python."""
    return _TITLES.get(status, status.phrase)


def problem(failure: Failure) -> Response:
    """A failure as a problem document."""
    document = ProblemDocument(
        type="about:blank",
        title=title_of(failure.status),
        status=failure.status.value,
        code=failure.code,
        detail=failure.detail,
    )
    return JSONResponse(document.json_types(), failure.status.value, failure.headers, media_type=MEDIA_TYPE)


PROBLEMS: Final = Dialect(root="", index="/openapi.json", failure=problem)
"""The dialect of all endpoints that no standard gives another one."""
