"""The product's Celery app with a brightness engine instead of VGG16: `celery --app tests.system.chaos.app`.

The network is the one thing replaced. It is looked up where a scoring child loads its model, after the fork, as ever.
"""

import sys
from types import ModuleType
from typing import TYPE_CHECKING

from triage.domain.card import Card
from worker.settings import Settings

if TYPE_CHECKING:
    from triage.model.engines.engine import Engine


def load_engine(settings: Settings, card: Card, weights: bytes) -> "Engine":
    from tests.system.chaos.engine import BrightnessEngine  # deferred: imports torch

    return BrightnessEngine()


_stand_in = ModuleType("worker.inference")
_stand_in.load_engine = load_engine  # type: ignore[attr-defined]
sys.modules["worker.inference"] = _stand_in

from worker.app import app  # noqa: E402  # its tasks import the stand-in

__all__ = ["app"]
