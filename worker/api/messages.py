"""Endpoints of messages and photos: submit, read the state, wait for the decision, read a verdict."""

from contextlib import ExitStack
from functools import partial
from operator import itemgetter
from urllib.parse import quote
from uuid import UUID

from triage.domain.ids import AttachmentId
from triage.domain.messages import IncomingAttachment, IncomingMessage
from triage.domain.scopes import Scope
from triage.errors import UsageError
from triage.reports.state import message_state, verdict_of
from worker.api.door import media_type, parsed, read_json
from worker.api.endpoint import JSON, Answer, Call, Endpoints
from worker.api.forms import Form, read_form
from worker.api.problems import RequestError
from worker.api.waiting import wait_until
from worker.codes import Code
from worker.documents.messages import AcceptanceDocument
from worker.documents.posted import MESSAGE_PART, PostedAttachment, PostedForm, PostedMessage
from worker.documents.queries import StateQuery
from worker.documents.state import MessageStateDocument, PhotoVerdictDocument

MESSAGES = Endpoints("messages")
_FORM = "multipart/form-data"


@MESSAGES.endpoint(
    "POST",
    "/v1/messages",
    scope=Scope.MESSAGES_WRITE,
    status=202,
    answers=AcceptanceDocument,
    bodies={JSON: PostedMessage, _FORM: PostedForm},
)
async def submit_message(call: Call) -> Answer:
    """Submit a message with its photos. Idempotent by source and message id."""
    with ExitStack() as stack:
        message = await _read_message(call, stack)
        call.of_own(message.source)
        [acceptance] = await call.run(lambda: call.services.intake.enqueue([message]))
    location = f"/v1/messages/{quote(acceptance.source, safe='')}/{quote(acceptance.external_id, safe='')}"
    return Answer(AcceptanceDocument.of(acceptance), {"Location": location})


@MESSAGES.endpoint("GET", "/v1/messages/{source}/{message_id}", scope=Scope.MESSAGES_READ)
async def read_message(call: Call, source: str, message_id: str, query: StateQuery) -> MessageStateDocument:
    """Read the state of a message; with `wait`, as soon as it is decided or that many seconds have passed."""
    read = partial(call.run, partial(message_state, call.services.sessions, message_id, source=call.of_own(source)))
    state = await read()
    if query.wait and state["outcome"] is None:
        is_decided = itemgetter("outcome")
        state = await wait_until(call, UUID(state["id"]), read, is_done=is_decided, seconds=query.wait)
    return MessageStateDocument.model_validate(state)


@MESSAGES.endpoint("GET", "/v1/attachments/{attachment_id}/verdict", scope=Scope.MESSAGES_READ)
def read_verdict(call: Call, attachment_id: UUID) -> PhotoVerdictDocument:
    """Read the verdict on a photo, by the `id` in the answer to its submission."""
    verdict = verdict_of(call.services.sessions, AttachmentId(attachment_id), sources=call.caller.sources)
    return PhotoVerdictDocument.model_validate(verdict)


async def _read_message(call: Call, stack: ExitStack) -> IncomingMessage:
    kind = media_type(call.request.headers)
    if kind == JSON:
        posted = parsed(PostedMessage, await read_json(call.request))
        return _message(posted, [_without_form(each) for each in posted.attachments or []])
    if kind != _FORM:
        raise RequestError(
            Code.UNSUPPORTED_TYPE, f"the body is neither {JSON} nor {_FORM}: set Content-Type accordingly"
        )
    intake, settings = call.services.intake, call.services.settings
    form = await read_form(
        call.request,
        stack,
        text_part=MESSAGE_PART,
        max_text=settings.api.max_json_bytes,
        max_photos=settings.intake.max_attachments,
        receive=intake.receive,
    )
    if form.text is None:
        raise UsageError(f"invalid form: it has no part {MESSAGE_PART}, which holds the message as JSON")
    posted = parsed(PostedMessage, form.text)
    return _message(posted, _of_form(posted, form))


def _message(posted: PostedMessage, attachments: list[IncomingAttachment]) -> IncomingMessage:
    return IncomingMessage(
        source=posted.source,
        external_id=posted.message_id,
        attachments=attachments,
        thread=posted.thread,
        role=posted.role,
        locale=posted.locale,
        opted_out=posted.opted_out,
        fitzpatrick=posted.fitzpatrick,
    )


def _of_form(posted: PostedMessage, form: Form) -> list[IncomingAttachment]:
    if posted.attachments is None:
        return [IncomingAttachment(data=photo.data, declared_type=photo.declared_type) for photo in form.photos]
    photos = {photo.name: photo for photo in form.photos}
    if len(photos) < len(form.photos):
        raise UsageError("invalid form: two photos have the same part name: give each part a name")
    attachments = []
    for each in posted.attachments:
        if each.part is None:
            attachments.append(_without_form(each))
            continue
        photo = photos.pop(each.part, None)
        if photo is None:
            raise UsageError("invalid form: an attachment names a part that the form does not have, or a part twice")
        attachments.append(
            IncomingAttachment(
                data=photo.data,
                external_id=each.attachment_id,
                group=each.group,
                declared_type=each.declared_type or photo.declared_type,
            )
        )
    if photos:
        raise UsageError("invalid form: no attachment names one of its photos")
    return attachments


def _without_form(posted: PostedAttachment) -> IncomingAttachment:
    if posted.part is not None:
        raise UsageError("invalid body: `part` names a part of a form, and the body is JSON: give uri or data")
    return IncomingAttachment(
        data=posted.data,
        uri=posted.uri,
        external_id=posted.attachment_id,
        group=posted.group,
        declared_type=posted.declared_type,
    )
