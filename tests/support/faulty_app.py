"""The product's Celery app with a fault, for tests: `celery --app tests.support.faulty_app`.

`TRIAGE_TEST_FAULT` names the fault. `unchecked` checks no message, so that a malformed one fails when it has taken the
only slot of the worker. `wedged` also ignores that failure, as Celery and kombu do. `slow` adds half a second to each
stage of a photo. `card` scores on a card that dies; the file of `TRIAGE_TEST_LIVES` counts how often.
"""

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from celery.worker import WorkController
from celery.worker.request import Request

from triage.timing import Timed

_FAULT = os.environ.pop("TRIAGE_TEST_FAULT")  # before the app reads the environment, because they are no settings
_LIVES = Path(os.environ.pop("TRIAGE_TEST_LIVES", ""))

from worker import metrics  # noqa: E402
from worker.app import app  # noqa: E402
from worker.broker import guard, guarded_worker  # noqa: E402

__all__ = ["app"]


def _unchanged(message: Any, queue: str) -> Any:
    return message


def _ignore(*_: object) -> None:
    """The worker continues without its slot."""


@contextmanager
def _slowly(stage: str, timed: Timed = metrics.timed) -> Iterator[None]:
    with timed(stage):
        time.sleep(0.5)
        yield


def _load_on_dying_card(settings: Any, card: Any, weights: bytes) -> Any:
    """As `worker.inference.load_engine`, in the child, with a card of tests."""
    from tests.support.dying_card import load_on_dying_card  # deferred: imports torch
    from triage.model.weights import load_network  # deferred: imports torch

    return load_on_dying_card(load_network(card, weights), _LIVES)


_UNCHECKED: dict[tuple[object, str], object] = {(guard, "decode"): json.loads, (guard, "rebuild"): _unchanged}
_FAULTS: dict[str, dict[tuple[object, str], object]] = {
    "unchecked": _UNCHECKED,
    "wedged": {
        **_UNCHECKED,
        (guard, "fail_delivery"): _ignore,
        (guarded_worker.GuardedWorker, "_process_task"): WorkController._process_task,
        (guarded_worker.GuardedRequest, "on_accepted"): Request.on_accepted,
    },
    "slow": {(metrics, "timed"): _slowly},  # before the child imports the scorer
}
if _FAULT == "card":
    sys.modules["worker.inference"] = ModuleType("worker.inference")
    sys.modules["worker.inference"].load_engine = _load_on_dying_card  # type: ignore[attr-defined]
for (_owner, _name), _part in _FAULTS.get(_FAULT, {}).items():
    setattr(_owner, _name, _part)
