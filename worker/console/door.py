"""The way of a request: read the form, find the session, check the right, call the page, answer.

Every answer has the headers that keep a browser from running foreign content, and is kept in no cache. Every failure is
a page. A form counts only from a page of the console: its origin and its token are checked.
"""

import hmac
import inspect
import time
from dataclasses import replace
from functools import partial
from typing import Any, Final
from urllib.parse import parse_qsl, quote

import structlog
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response
from starlette.types import Receive, Scope, Send

from triage.errors import TriageError, UsageError, where
from triage.staff.login import member_of
from worker.api.door import media_type
from worker.api.limits import LimitedBody, limited_send
from worker.api.metrics import IN_PROGRESS, REQUESTS, SECONDS
from worker.api.problems import STATUS, RequestError, is_too_slow
from worker.codes import Code, code_of
from worker.console.cookies import SESSION, read_cookie
from worker.console.page import PATH, Console, Page, Visit, template
from worker.console.texts import texts_for

log = structlog.get_logger(__name__)

_FAILURE: Final = template("failure.html")

POLICY: Final = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
"""The content security policy. No script runs, not even one of the console."""

HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    # with `no-referrer`, browsers send `Origin: null` with forms
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_HSTS: Final = {"Strict-Transport-Security": "max-age=31536000"}
_FORM: Final = "application/x-www-form-urlencoded"
_MAX_FORM_BYTES: Final = 2**15
_MAX_FIELDS: Final = 30
_GONE: Final = 499
"""The status that metrics show if the browser has closed the connection."""


class Door:
    """The ASGI application of one page."""

    def __init__(self, page: Page, console: Console) -> None:
        self._page = page
        self._console = console

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        api, name, begin = self._console.services.settings.api, f"console_{self._page.name}", time.monotonic()
        body = LimitedBody(
            receive,
            max_bytes=_MAX_FORM_BYTES,
            declared=None,
            idle_seconds=api.idle_seconds,
            seconds=api.request_seconds,
        )
        status = _GONE
        with IN_PROGRESS.track_inprogress():
            try:
                response = with_headers(await self._answer(Request(scope, body)), secure=self._console.secure)
                status = response.status_code
                await response(scope, receive, limited_send(send, api.request_seconds))
            except (ClientDisconnect, TimeoutError):
                pass  # the browser is gone: no answer can be read
            finally:
                REQUESTS.labels(name, status).inc()
                SECONDS.labels(name).observe(time.monotonic() - begin)

    async def _answer(self, request: Request) -> Response:
        visit = Visit(self._console, request, texts_for(request.headers.get("accept-language")))
        try:
            admitted = await self._admit(visit)
            if isinstance(admitted, Response):
                return admitted
            visit = admitted  # a page of a failure also names the person
            return await self._call(visit)
        except ClientDisconnect:
            raise
        except Exception as error:  # a defect: where, but never the text, which may contain patient data
            code = Code.INTERNAL
            if isinstance(error, TriageError):
                code = error.code if isinstance(error, RequestError) else code_of(error)
            fields: dict[str, Any] = {"action": f"console_{self._page.name}", "kind": code.value}
            if code is Code.INTERNAL:
                log.error("request.failed", **fields, error_type=type(error).__name__, where=where(error.__traceback__))
            else:
                log.warning("request.refused", **fields, error_type=type(error).__name__)
            if is_too_slow(error):
                return failure(visit, code, reason="too_slow")
            response = failure(visit, code, str(error) if code in _SHOWN else "")
            response.headers.update(error.headers if isinstance(error, RequestError) else {})
            return response

    async def _admit(self, visit: Visit) -> Visit | Response:
        """The visit with its form and the person; or the way to the login."""
        page, request = self._page, visit.request
        if page.method == "POST":
            self._check_origin(request.headers)
            visit = replace(visit, form=await _read_form(request))
        if page.right is None:
            return visit
        visit = await of_session(visit)
        if visit.member is None:
            back = f"?next={quote(f'{PATH}{_path_of(request)}', safe='')}" if page.method == "GET" else ""
            return RedirectResponse(f"{PATH}/login{back}", 303)
        return visit

    async def _call(self, visit: Visit) -> Response:
        page = self._page
        if page.right is None:
            return await _handle(page, visit)
        if page.method == "POST" and not hmac.compare_digest(visit.form.get("csrf", "").encode(), visit.csrf.encode()):
            raise RequestError(Code.FORBIDDEN, "the form is not from this session: load the page again")
        if not visit.may(page.right):
            raise RequestError(Code.FORBIDDEN, "the role lacks the right")
        return await _handle(page, visit)

    def _check_origin(self, headers: Headers) -> None:
        """Browsers name the origin of each form. Other programs have no business here."""
        site = headers.get("sec-fetch-site", "same-origin")
        if headers.get("origin") not in self._console.origins or site != "same-origin":
            raise RequestError(Code.FORBIDDEN, "the form is from another site: open the console again")


_SHOWN: Final = {Code.INVALID, Code.NOT_FOUND, Code.LEASE_LOST, Code.FAILED}
"""Failures whose own text helps the person; for the others there are texts in the person's language."""


async def of_session(visit: Visit) -> Visit:
    """The visit with the person who is logged in, if the browser has a valid session."""
    settings, token = visit.console.settings, read_cookie(visit.request, SESSION, secure=visit.console.secure)
    if not token:
        return visit
    check = partial(member_of, visit.services.sessions, token, idle=settings.idle, absolute=settings.absolute)
    member = await visit.run(check)
    return visit if member is None else replace(visit, member=member, token=token)


def failure(visit: Visit, code: Code, detail: str = "", *, reason: str = "") -> Response:
    """The page of a failure, with the text of its code, or of a reason that says more."""
    return visit.render(_FAILURE, STATUS[code].value, reason=reason or code.value, detail=detail)


def with_headers(response: Response, *, secure: bool) -> Response:
    """The answer with the headers of every answer, unless it has its own."""
    for header, value in (HEADERS | (_HSTS if secure else {})).items():
        response.headers.setdefault(header, value)
    return response


async def _handle(page: Page, visit: Visit) -> Response:
    result: Response
    if inspect.iscoroutinefunction(page.handler):
        result = await page.handler(visit)
    else:
        run = visit.run_in_turn if page.is_heavy else visit.run
        result = await run(partial(page.handler, visit))
    return result


async def _read_form(request: Request) -> dict[str, str]:
    if media_type(request.headers) != _FORM:
        raise RequestError(Code.UNSUPPORTED_TYPE, f"the form is not declared as {_FORM}")
    try:
        fields = parse_qsl((await request.body()).decode(), keep_blank_values=True, max_num_fields=_MAX_FIELDS)
    except ValueError:
        raise UsageError("the form is malformed: load the page again") from None
    if len(dict(fields)) < len(fields):
        raise UsageError("the form has a field twice: load the page again")
    return dict(fields)


def _path_of(request: Request) -> str:
    path: str = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
    query: bytes = request.scope["query_string"]
    return f"{path}?{query.decode('ascii', 'replace')}" if query else path
