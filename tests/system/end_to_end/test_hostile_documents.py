"""A real worker answers documents that no sender should send, and shows none of their values."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Final

from tests.support.deployment import WAIT_SECONDS, Deployment
from worker.services import Services

PATIENT: Final = "Erika-Mustermann"
PHOTO: Final = {"uri": "file:///elsewhere/1.jpg"}
GOOD: Final[dict[str, Any]] = {"source": "ehr", "message_id": "m-1", "attachments": [PHOTO]}
WRONG: Final[dict[str, dict[str, Any]]] = {
    "lone surrogate": {"message_id": f"{PATIENT}\ud800"},
    "lone surrogate in a group": {"attachments": [PHOTO | {"group": f"{PATIENT}\udfff"}]},
    "U+0000": {"attachments": [{"uri": "file:///elsewhere/1.jpg", "id": f"{PATIENT}\0"}]},
    "no answer to a question": {"opted_out": None},
    "number for yes": {"opted_out": 1},
    "word for yes": {"opted_out": "yes"},
    "number as an id": {"message_id": 19710101},
    "number as a URI": {"attachments": [{"uri": 5}]},
    "text as photos": {"attachments": PATIENT},
    "unknown field": {f"{PATIENT}\x1b[2J" * 20: 1},
    "many unknown fields": {f"field {number}": 1 for number in range(500)},
    "huge number": {"thread": 10**300},
}


def test_worker_answers_invalid_when_a_document_is_hostile(
    deploy: Callable[..., AbstractContextManager[Deployment]], services: Services
) -> None:
    with deploy("intake"):
        for name, wrong in WRONG.items():
            answer = services.celery.send_task("inbox.submit", [GOOD | wrong]).get(timeout=WAIT_SECONDS)

            assert answer["error"]["code"] == "invalid", name
            message = answer["error"]["message"]
            assert message.isprintable(), name
            assert len(message) < 500, name
            assert name == "unknown field" or PATIENT not in message, name  # a key is shown, shortened and escaped

        answer = services.celery.send_task("inbox.submit", [GOOD]).get(timeout=WAIT_SECONDS)
        assert answer["created"]
        [refused] = answer["attachments"]
        assert (refused["status"], refused["error_code"]) == ("not_assessable", "uri_not_allowed")
