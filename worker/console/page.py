"""How pages are declared: a function with the right that it requires.

    @PAGES.page("POST", "/messages/{message_id:uuid}/claim", right=Right.DECIDE)
    def claim_message(visit: Visit) -> Response: ...

A plain function runs in a thread; an `async` one must not block. A POST has passed the checks against forged requests.
"""

import hashlib
import hmac
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final, TypeVar
from uuid import UUID

import anyio
import anyio.to_thread
from jinja2 import Environment, PackageLoader, StrictUndefined, Template, TemplateNotFound
from jinja2.meta import find_referenced_templates
from markupsafe import Markup, escape
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from triage.domain.staff import STAFF_PREFIX, Right, StaffMember
from triage.domain.text import printable_value
from triage.errors import UsageError
from worker.api.problems import RequestError
from worker.api.shared import Shared
from worker.codes import Code
from worker.console.oidc import LoginProvider
from worker.console.texts import Texts
from worker.services import Services
from worker.setting_groups import ConsoleSettings

Result = TypeVar("Result")

PATH: Final = "/console"
"""Where the console is mounted."""

_MOST_WAITING: Final = 5
"""Pages that wait for another one which reads months of rows."""
_RETRY_SECONDS: Final = "30"

_ENVIRONMENT: Final = Environment(
    loader=PackageLoader("worker.console"),
    auto_reload=False,  # an upgrade must not change the pages of a console that runs
    cache_size=-1,
    autoescape=True,
    finalize=printable_value,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def _with_code(text: str) -> Markup:
    """A text whose words in backticks are commands."""
    return Markup(re.sub("`(.+?)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704 (escaped)


_ENVIRONMENT.filters["code"] = _with_code


def template(name: str) -> Template:
    """Loads a template and all that it names. Modules call it when they are imported, so that no page misses one later.

    Raises:
        jinja2.TemplateNotFound: one of them is missing.
    """
    if _ENVIRONMENT.loader is None:
        raise TemplateNotFound(name)
    source, _, _ = _ENVIRONMENT.loader.get_source(_ENVIRONMENT, name)
    for each in filter(None, find_referenced_templates(_ENVIRONMENT.parse(source))):
        template(each)
    return _ENVIRONMENT.get_template(name)


@dataclass(frozen=True, slots=True)
class Console:
    """What the pages of one process share.

    Attributes:
        origins: the origins under which browsers reach the console.
        secure: whether browsers reach it by HTTPS.
        provider: the identity provider, if the settings name one.
        logins: checks of passwords wait here, and not in the threads that the other pages and endpoints use.
        maps: the same for quality maps.
        heavy: pages that read months of rows, such as reports, wait here: one after another, so that people who work
            through the queue, and decisions, keep the other cores.
    """

    shared: Shared
    origins: frozenset[str]
    secure: bool
    provider: LoginProvider | None
    logins: anyio.CapacityLimiter
    maps: anyio.CapacityLimiter
    heavy: anyio.CapacityLimiter

    @property
    def services(self) -> Services:
        return self.shared.services

    @property
    def settings(self) -> ConsoleSettings:
        return self.services.settings.console


@dataclass(frozen=True, slots=True)
class Visit:
    """A request that was let in.

    Attributes:
        request: it; its body was read.
        member: who is logged in; None on pages that require no right.
        token: the id of the session.
        form: the fields of a POST.
    """

    console: Console
    request: Request
    texts: Texts
    member: StaffMember | None = None
    token: str = field(default="", repr=False)
    form: Mapping[str, str] = field(default_factory=dict)

    @property
    def services(self) -> Services:
        return self.console.services

    @property
    def staff(self) -> StaffMember:
        """Who is logged in, on a page that requires a right."""
        if self.member is None:
            raise ValueError("the page requires no right")
        return self.member

    @property
    def csrf(self) -> str:
        """The token of this session's forms. Who does not know the session's id cannot compute it."""
        return hmac.new(self.token.encode(), b"csrf", hashlib.sha256).hexdigest() if self.token else ""

    @property
    def place(self) -> str:
        """The path of the page within the console, without the slash before it."""
        path: str = self.request.scope["path"]
        return path.removeprefix(self.request.scope.get("root_path", "")).removeprefix("/")

    def uuid(self, name: str) -> UUID:
        """A part of the path."""
        value: UUID = self.request.path_params[name]
        return value

    def part(self, name: str) -> str:
        """A part of the path that is a word."""
        return str(self.request.path_params[name])

    def field(self, name: str) -> str:
        """
        Raises:
            UsageError: the form lacks the field.
        """
        if name not in self.form:
            raise UsageError("the form is incomplete: load the page again")
        return self.form[name]

    def may(self, right: Right) -> bool:
        return self.member is not None and self.member.may(right)

    def person(self, actor: str) -> str:
        """How the page names who did something: the reader as such, staff without the prefix of the audit trail."""
        if self.member is not None and actor == self.member.actor:
            return self.texts("nav.you")
        return actor.removeprefix(STAFF_PREFIX)

    async def run(self, use_case: Callable[[], Result]) -> Result:
        """Runs a use case in a thread, for `async` pages."""
        return await anyio.to_thread.run_sync(use_case, limiter=self.console.shared.threads)

    async def run_in_turn(self, use_case: Callable[[], Result]) -> Result:
        """Runs a use case that reads months of rows, after those that came before it.

        Raises:
            RequestError: too many others wait.
            ClientDisconnect: the browser left before it was its turn.
        """
        line = self.console.heavy
        if line.statistics().tasks_waiting >= _MOST_WAITING:
            raise RequestError(
                Code.TOO_MANY_REQUESTS, "too many long pages are being computed: retry", {"Retry-After": _RETRY_SECONDS}
            )
        async with line:
            if await self.request.is_disconnected():
                raise ClientDisconnect
            return await self.run(use_case)

    def render(self, page: Template, /, status: int = 200, **values: Any) -> Response:
        """A page of this template."""
        zone = self.console.settings.zone
        html = page.render(
            visit=self,
            path=PATH,
            text=self.texts,
            Right=Right,
            local=partial(local_time, zone=zone),
            duration=duration,
            **values,
        )
        return HTMLResponse(html, status)

    def redirect(self, path: str) -> Response:
        """To a page of the console, which the browser loads by GET."""
        return RedirectResponse(f"{PATH}{path}", 303)


@dataclass(frozen=True, slots=True)
class Page:
    """A page. `right` is what a person must have; None lets everybody in. `is_heavy`: it reads months of rows."""

    method: str
    path: str
    right: Right | None
    handler: Callable[[Visit], Any]
    is_heavy: bool = False

    @property
    def name(self) -> str:
        return self.handler.__name__


@dataclass(frozen=True, slots=True)
class Pages:
    """The pages of one subject."""

    declared: list[Page] = field(default_factory=list)

    def page(
        self, method: str, path: str, *, right: Right | None, is_heavy: bool = False
    ) -> Callable[[Callable[[Visit], Any]], Callable[[Visit], Any]]:
        """Declares a page; see the module."""

        def declare(handler: Callable[[Visit], Any]) -> Callable[[Visit], Any]:
            self.declared.append(Page(method, path, right, handler, is_heavy))
            return handler

        return declare


def local_time(value: datetime | str, *, zone: Any) -> str:
    """A time in the zone of the clinic, with the zone's name."""
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    return f"{moment.astimezone(zone):%Y-%m-%d %H:%M %Z}"


def duration(value: timedelta) -> str:
    """A duration in its two largest units, whose symbols are those of most languages: `3 d 4 h`."""
    minutes = max(0, int(value.total_seconds() // 60))
    hours, days = minutes // 60, minutes // 1440
    if days:
        return f"{days} d {hours % 24} h"
    return f"{hours} h {minutes % 60} min" if hours else f"{minutes} min"
