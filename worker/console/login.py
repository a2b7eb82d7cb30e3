"""Login by a password or by the identity provider, and logout."""

import re
import secrets
from functools import partial
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Final

import anyio.to_thread
import structlog
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from triage.domain.staff import Right
from triage.staff import login as staff_login
from triage.staff.login import ATTEMPT_WINDOW, NewSession, Refusal
from worker.console.cookies import BROWSER, LOGIN, SESSION, delete_cookie, read_cookie, set_cookie
from worker.console.oidc import CALLBACK, RefusedLoginError
from worker.console.page import PATH, Pages, Visit, template

log = structlog.get_logger(__name__)

LOGIN_PAGES: Final = Pages()

_LOGIN: Final = template("login.html")

_NEXT: Final = re.compile(
    rf"{PATH}(/(?!/)(?!([A-Za-z0-9_./-]*/)?\.\.?([/?]|$))[A-Za-z0-9_./-]*)?(\?[A-Za-z0-9_.&=:%+-]*)?"
)
_BROWSER_SECONDS: Final = 90 * 86_400
_LOGIN_SECONDS: Final = 600
_STATUS: Final = {Refusal.WRONG: 401, Refusal.TOO_MANY: 429, Refusal.NAME_IN_USE: 409}


@LOGIN_PAGES.page("GET", "/login", right=None)
def show_login(visit: Visit) -> Response:
    """The form, and the way to the identity provider."""
    return _form(visit, visit.request.query_params.get("next", ""))


@LOGIN_PAGES.page("POST", "/login", right=None)
async def log_in(visit: Visit) -> Response:
    """Checks name and password."""
    check = partial(
        staff_login.login,
        visit.services.sessions,
        visit.field("name").strip(),
        visit.field("password"),
        browser=read_cookie(visit.request, BROWSER, secure=visit.console.secure),
        address=_address(visit.request),
    )
    result = await anyio.to_thread.run_sync(check, limiter=visit.console.logins)
    return await _begin(visit, result, visit.form.get("next", ""))


@LOGIN_PAGES.page("GET", "/login/provider", right=None)
async def go_to_provider(visit: Visit) -> Response:
    """Sends the browser to the identity provider."""
    if visit.console.provider is None:
        return visit.redirect("/login")
    login = secrets.token_urlsafe(32)
    response = RedirectResponse(await visit.console.provider.address(login), 303)
    set_cookie(response, LOGIN, login, secure=visit.console.secure, seconds=_LOGIN_SECONDS)
    return response


@LOGIN_PAGES.page("GET", CALLBACK, right=None)
async def come_from_provider(visit: Visit) -> Response:
    """Ends a login by the identity provider."""
    login = read_cookie(visit.request, LOGIN, secure=visit.console.secure)
    if visit.console.provider is None or login is None:
        return visit.redirect("/login")
    try:
        identity = await visit.console.provider.identity(login, dict(visit.request.query_params))
    except RefusedLoginError as error:
        log.warning("login.refused", kind=str(error))
        return _form(visit, "", "provider", 403)
    check = partial(
        staff_login.login_identity,
        visit.services.sessions,
        issuer=identity.issuer,
        subject=identity.subject,
        name=identity.name,
        role=identity.role,
        browser=read_cookie(visit.request, BROWSER, secure=visit.console.secure),
    )
    response = await _begin(visit, await visit.run(check), "")
    delete_cookie(response, LOGIN, secure=visit.console.secure)
    return response


@LOGIN_PAGES.page("POST", "/logout", right=Right.SEE)
def log_out(visit: Visit) -> Response:
    """Ends the session."""
    staff_login.logout(visit.services.sessions, visit.token)
    response = visit.redirect("/login")
    delete_cookie(response, SESSION, secure=visit.console.secure)
    return response


async def _begin(visit: Visit, result: NewSession | Refusal, after: str) -> Response:
    secure = visit.console.secure
    if isinstance(result, Refusal):
        log.warning("login.refused", kind=result.value)
        return _form(visit, after, result.value, _STATUS[result], name=visit.form.get("name", ""))
    if before := read_cookie(visit.request, SESSION, secure=secure):
        await visit.run(partial(staff_login.logout, visit.services.sessions, before))
    response = RedirectResponse(after if _NEXT.fullmatch(after) else f"{PATH}/", 303)
    set_cookie(response, SESSION, result.token, secure=secure)
    set_cookie(response, BROWSER, result.browser, secure=secure, seconds=_BROWSER_SECONDS)
    return response


def _form(visit: Visit, after: str, problem: str = "", status: int = 200, *, name: str = "") -> Response:
    return visit.render(
        _LOGIN,
        status,
        after=after if _NEXT.fullmatch(after) else "",
        problem=problem,
        name=name,
        minutes=int(ATTEMPT_WINDOW.total_seconds() // 60),
        has_provider=visit.console.provider is not None,
    )


def _address(request: Request) -> str:
    """The network of the browser: an address of IPv4, or the 64 bits of IPv6 that a subscriber has."""
    try:
        address = ip_address(request.client.host if request.client else "")
    except ValueError:
        return ""
    return str(ip_network((address, 64), strict=False) if isinstance(address, IPv6Address) else address)
