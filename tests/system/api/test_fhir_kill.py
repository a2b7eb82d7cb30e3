"""The server is killed between the commit of a message and its answer, and the client sends the message again."""

import base64
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import httpx2
import pytest
from sqlalchemy import text

from tests.support.deployment import eventually
from tests.support.flagged import flag
from tests.support.served import Served, start
from worker.fhir.terms import REQUEST_ID

pytestmark = pytest.mark.long

CONDITION = {"If-None-Exist": "identifier=urn:oid:1.2.3|m-2"}


def _message(photo: bytes, **fields: Any) -> dict[str, Any]:
    data = base64.b64encode(photo).decode()
    return {
        "resourceType": "Communication",
        "status": "completed",
        "sender": {"reference": "Patient/7"},
        "payload": [{"contentAttachment": {"contentType": "image/jpeg", "data": data}}],
        **fields,
    }


def _count(served: Served, table: str) -> int:
    with served.services.sessions() as session:
        return int(session.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())


def test_message_exists_once_when_the_server_is_killed_before_its_answer(serve: Callable[..., Any]) -> None:
    with serve() as served:
        with served.client() as client:
            first = client.put("/fhir/Communication/m-1", json=_message(b"1", id="m-1"))
        assert first.status_code == 201
        request_id = flag(served.services.sessions, "Communication/m-1")
        based_on = [{"identifier": {"system": REQUEST_ID, "value": str(request_id)}}]
        message = _message(b"2", identifier=[{"system": "urn:oid:1.2.3", "value": "m-2"}], basedOn=based_on)
        answers: list[httpx2.Response] = []

        def send() -> None:
            with served.client() as client, suppress(httpx2.TransportError):
                answers.append(client.post("/fhir/Communication", json=message, headers=CONDITION))

        with served.services.sessions() as session:  # the server cannot record that the request is answered
            session.execute(text("SELECT 1 FROM retake_request FOR UPDATE"))
            sending = threading.Thread(target=send)
            sending.start()
            eventually(lambda: _count(served, "message") == 2)
            served.stop(signal.SIGKILL)
            sending.join()
        assert answers == []

        served.process, served.port = start(served.environment, served.log)
        with served.client() as client:
            repeated = [client.post("/fhir/Communication", json=message, headers=CONDITION) for _ in range(2)]

        assert [each.status_code for each in repeated] == [200, 200]
        assert [_count(served, table) for table in ("message", "attachment")] == [2, 2]
        assert _count(served, "retake_request WHERE answered_at IS NOT NULL") == 1
