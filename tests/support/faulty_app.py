"""The product's Celery app without its defences, for tests: `celery --app tests.support.faulty_app`.

`TRIAGE_TEST_FAULT` says what is missing. `unchecked` checks no message, so that a malformed one fails when it has taken
the only slot of the worker. `wedged` also ignores that failure, as Celery and kombu do.
"""

import json
import os
from typing import Any

from celery.worker import WorkController
from celery.worker.request import Request

from worker.app import app
from worker.broker import guard, guarded_worker

__all__ = ["app"]


def _unchanged(message: Any, queue: str) -> Any:
    return message


def _ignore(*_: object) -> None:
    """The worker continues without its slot."""


_replaced: dict[tuple[object, str], object] = {(guard, "decode"): json.loads, (guard, "rebuild"): _unchanged}
if os.environ["TRIAGE_TEST_FAULT"] == "wedged":
    _replaced |= {
        (guard, "fail_delivery"): _ignore,
        (guarded_worker.GuardedWorker, "_process_task"): WorkController._process_task,
        (guarded_worker.GuardedRequest, "on_accepted"): Request.on_accepted,
    }
for (_owner, _name), _part in _replaced.items():
    setattr(_owner, _name, _part)
