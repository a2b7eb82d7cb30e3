"""The product's own Celery app, with brightness in place of VGG16: `celery --app tests.chaos.app`.

The network is the one thing replaced. It is looked up where a scoring child loads its model, after the fork, as ever.
"""

import sys
from types import ModuleType
from typing import TYPE_CHECKING

from triage.quality.card import Card
from worker.settings import Settings

if TYPE_CHECKING:
    from triage.quality.engines import Engine


def load_engine(settings: Settings, card: Card, weights: bytes) -> "Engine":
    from tests.chaos.engine import BrightnessEngine  # torch is imported in the process that scores, and in no other

    return BrightnessEngine()


_stand_in = ModuleType("worker.engine")
_stand_in.load_engine = load_engine  # type: ignore[attr-defined]
sys.modules["worker.engine"] = _stand_in

from worker.app import app  # noqa: E402  # its tasks look for the engine

__all__ = ["app"]
