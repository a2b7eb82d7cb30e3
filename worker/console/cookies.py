"""The cookies of the console. Browsers send them by HTTPS only, hide them from scripts, and bind them to this host.

On a loopback address without TLS, where browsers refuse the prefix `__Host-`, they have another name.
"""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

SESSION: Final = "triage-session"
BROWSER: Final = "triage-browser"
LOGIN: Final = "triage-login"

_MAX_VALUE: Final = 200


def read_cookie(request: Request, name: str, *, secure: bool) -> str | None:
    value = request.cookies.get(_full(name, secure=secure))
    return value if value and len(value) <= _MAX_VALUE and value.isascii() else None


def set_cookie(response: Response, name: str, value: str, *, secure: bool, seconds: int | None = None) -> None:
    """Sets a cookie, by default until the browser closes."""
    response.set_cookie(
        _full(name, secure=secure), value, max_age=seconds, path="/", secure=secure, httponly=True, samesite="lax"
    )


def delete_cookie(response: Response, name: str, *, secure: bool) -> None:
    response.delete_cookie(_full(name, secure=secure), path="/", secure=secure, httponly=True, samesite="lax")


def _full(name: str, *, secure: bool) -> str:
    return f"__Host-{name}" if secure else name
