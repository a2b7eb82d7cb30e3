"""Endpoints of messages in FHIR R4: create, update, transaction, and what is stored of one.

Every answer comes after the commit.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import anyio.to_thread
from starlette.responses import Response

from triage.domain.scopes import Scope
from triage.errors import NotFoundError
from worker.api.endpoint import Call, Endpoints
from worker.api.fhir_dialect import FHIR, ROOT, read_body, resource_in, resource_response
from worker.api.problems import RequestError
from worker.codes import Code
from worker.fhir.content import TooMuchError
from worker.fhir.endpoint.outcomes import outcome_of_success
from worker.fhir.endpoint.push import Push, Taken
from worker.fhir.endpoint.stored import as_stored, etag
from worker.fhir.endpoint.submissions import ConditionError, Submission, to_create, to_update
from worker.fhir.endpoint.transactions import Transaction, UnsupportedError, read_transaction

FHIR_MESSAGES = Endpoints("fhir messages", FHIR)

_COMMUNICATION: Final = f"{ROOT}/Communication"
_PREFER: Final = re.compile(r"return\s*=\s*\"?(minimal|representation|OperationOutcome)\b")
_CONTENT_REMARK: Final = "content of the messages that refer to it; not stored as a resource"
_NOTHING_REMARK: Final = "nothing is stored: not a message of a patient with photos, or a draft"

Result = TypeVar("Result")


@FHIR_MESSAGES.endpoint("POST", _COMMUNICATION, scope=Scope.FHIR_CREATE)
async def create_communication(call: Call) -> Response:
    """Create a message. Its id is made from its first identifier: a message that exists is not created again."""
    body, condition = await read_body(call.request), call.request.headers.get("if-none-exist")
    return await _take_one(call, lambda: to_create(resource_in(body), condition))


@FHIR_MESSAGES.endpoint("PUT", f"{_COMMUNICATION}/{{message_id}}", scope=Scope.FHIR_UPDATE)
async def update_communication(call: Call, message_id: str) -> Response:
    """Update a message, or create it under an id of the client. Photos are added, and none is replaced."""
    headers = call.request.headers
    body = await read_body(call.request)
    conditions = {"if_match": headers.get("if-match"), "if_none_match": headers.get("if-none-match")}
    return await _take_one(call, lambda: to_update(resource_in(body), message_id, **conditions))


@FHIR_MESSAGES.endpoint("GET", f"{_COMMUNICATION}/{{message_id}}", scope=Scope.FHIR_READ)
def read_communication(call: Call, message_id: str) -> Response:
    """Read what is stored of a message: never its text, and no photos."""
    name = f"Communication/{message_id}"
    known = _push(call).find(name)
    if known is None:
        raise NotFoundError("no message has this id: check it, or create the message first")
    return resource_response(as_stored(name, known), headers={"ETag": etag(known)})


@FHIR_MESSAGES.endpoint("POST", ROOT, scope=Scope.FHIR_CREATE)
async def process_transaction(call: Call) -> Response:
    """Create and update messages in one transaction, with the resources that hold their photos."""
    body = await read_body(call.request)

    def process() -> tuple[Transaction, list[Taken]]:
        transaction = read_transaction(resource_in(body))
        if transaction.updates and Scope.FHIR_UPDATE not in call.caller.scopes:
            raise RequestError(Code.FORBIDDEN, f"this client lacks the scope {Scope.FHIR_UPDATE}, which PUT needs")
        return transaction, _push(call).take(transaction.submissions, by=call.caller.actor)

    transaction, taken = await _run(call, process)
    by_name = {each.name: each for each in taken}
    entries = [_entry(call, by_name[each.name] if each else None) for each in transaction.entries]
    return resource_response({"resourceType": "Bundle", "type": "transaction-response", "entry": entries})


def _push(call: Call) -> Push:
    """
    Raises:
        RequestError: the client is limited to other sources.
    """
    push = call.services.push
    call.of_own(push.source)
    return push


async def _take_one(call: Call, read: Callable[[], Submission]) -> Response:
    [taken] = await _run(call, lambda: _push(call).take([read()], by=call.caller.actor))
    if taken.known is None:
        return resource_response(outcome_of_success(_NOTHING_REMARK))
    headers = {"ETag": etag(taken.known), "Location": f"{call.shared.base_url}{ROOT}/{taken.name}"}
    return resource_response(_preferred(call, taken), 201 if taken.is_new else 200, headers)


async def _run(call: Call, process: Callable[[], Result]) -> Result:
    """Reads messages in a thread, few at the same time: each holds its photos in memory."""
    try:
        return await anyio.to_thread.run_sync(process, limiter=call.shared.pushes)
    except ConditionError as error:
        raise RequestError(Code.PRECONDITION_FAILED, str(error)) from error
    except TooMuchError as error:
        raise RequestError(Code.TOO_LARGE, str(error)) from error
    except UnsupportedError as error:
        raise RequestError(Code.UNPROCESSABLE, str(error)) from error


def _preferred(call: Call, taken: Taken) -> dict[str, Any] | None:
    """What the client wants to read of a message, by the header `Prefer`; by default what is stored."""
    found = _PREFER.search(call.request.headers.get("prefer", ""))
    match found[1] if found else "representation":
        case "minimal":
            return None
        case "OperationOutcome":
            return outcome_of_success(*_remarks(taken))
    return as_stored(taken.name, taken.known) if taken.known else None


def _remarks(taken: Taken) -> list[str]:
    if taken.acceptance is None:
        return ["known already: nothing is changed, or it is withdrawn"]
    photos = taken.acceptance.attachments
    return [f"{len(photos)} photos are stored"] + [
        f"photo {number}: {each.error_code or 'another photo was sent in its place before, and is kept'}"
        for number, each in enumerate(photos, 1)
        if each.error_code or each.conflict
    ]


def _entry(call: Call, taken: Taken | None) -> Mapping[str, Any]:
    """The answer to one entry of a transaction. Its resource is there only if the client asks for it."""
    if taken is None or taken.known is None:
        remark = _CONTENT_REMARK if taken is None else _NOTHING_REMARK
        return {"response": {"status": "200 OK", "outcome": outcome_of_success(remark)}}
    response = {
        "status": "201 Created" if taken.is_new else "200 OK",
        "location": taken.name,
        "etag": etag(taken.known),
    }
    wanted = _preferred(call, taken) if "prefer" in call.request.headers else None
    match (wanted or {}).get("resourceType"):
        case "OperationOutcome":
            return {"response": response | {"outcome": wanted}}
        case "Communication":
            return {"fullUrl": f"{call.shared.base_url}{ROOT}/{taken.name}", "resource": wanted, "response": response}
    return {"response": response}
