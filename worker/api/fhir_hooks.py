"""Endpoints that an EHR's FHIR server calls by its subscriptions. Whatever arrives, nothing but a read follows."""

from collections.abc import Collection

import structlog
from starlette.responses import Response

from triage.arrivals.announce import notify
from triage.domain.arrivals import Events
from triage.domain.scopes import Scope
from triage.errors import NotFoundError, UsageError
from worker.api.door import media_type
from worker.api.endpoint import JSON, Call, Endpoints
from worker.api.fhir_dialect import resource_in
from worker.api.problems import RequestError
from worker.codes import Code
from worker.documents.fhir import FhirResource
from worker.fhir.reading.notifications import MAX_REFERENCES, Notice, read_notice
from worker.fhir.references import target_of
from worker.fhir.server.bodies import JSON as FHIR_JSON

log = structlog.get_logger(__name__)

FHIR_HOOKS = Endpoints("fhir subscriptions")


@FHIR_HOOKS.endpoint(
    "POST", "/fhir-hook", scope=Scope.FHIR_NOTIFY, bodies=dict.fromkeys((FHIR_JSON, JSON), FhirResource)
)
async def receive_notification(call: Call) -> Response:
    """Notify of messages on the FHIR server: an empty body, a Communication, or a Bundle of the R5 backport."""
    base = _base(call)
    body = await _body(call)

    def follow() -> Response:
        notice = read_notice(resource_in(body), base=base) if body.strip() else Notice(is_bare=True)
        references = {str(each) for each in notice.messages}
        return _follow(call, references, searches=notice.is_bare, events=notice.events)

    return await call.run(follow)


@FHIR_HOOKS.endpoint("PUT", "/fhir-hook/{reference}", scope=Scope.FHIR_NOTIFY)
def receive_resource(call: Call, reference: str) -> Response:
    """Notify of a message on the FHIR server by its reference, such as `Communication/1`. The body is not read."""
    target = target_of(reference, base=_base(call))
    return _follow(call, {str(target)} if target and target.type == "Communication" else set(), searches=False)


def _base(call: Call) -> str:
    url = call.services.settings.fhir.url
    if url is None:
        raise NotFoundError("no FHIR server is configured here: name it in the settings")
    return url


async def _body(call: Call) -> bytes:
    is_json = media_type(call.request.headers) in (FHIR_JSON, JSON)
    body = bytearray()
    async for chunk in call.request.stream():
        if chunk and not is_json:
            raise RequestError(Code.UNSUPPORTED_TYPE, f"the body is not declared as {FHIR_JSON}: send JSON")
        body += chunk
    return bytes(body)


def _follow(call: Call, references: Collection[str], *, searches: bool, events: Events | None = None) -> Response:
    """Answers after the commit: a server that gets another answer, or none, notifies again."""
    services = call.services
    if len(references) > MAX_REFERENCES:
        raise UsageError(f"a notification names at most {MAX_REFERENCES:,} messages: send several")
    source = call.of_own(services.settings.fhir.source)
    noticed = notify(services.sessions, source, sorted(references), searches=searches, events=events)
    if noticed.missed:
        log.warning("notification.missed", target=source)
    if references or searches or noticed.missed:
        services.wake_ups.arrivals()
    return Response()
