"""The product's Celery app with a sleeping device instead of VGG16: `celery --app benchmarks.contenders.simulated`.

Everything else is real. The network is looked up where a scoring child loads its model, after the fork, as ever.
"""

import os
import sys
import time
from types import ModuleType
from typing import TYPE_CHECKING, Final

from triage.domain.card import Card
from worker.settings import Settings

if TYPE_CHECKING:
    from torch import Tensor

    from triage.model.engines.engine import Engine

VARIABLE: Final = "BENCHMARK_SECONDS_PER_PHOTO"


def load_engine(settings: Settings, card: Card, weights: bytes) -> "Engine":  # noqa: ARG001  # same signature as the original
    import torch  # deferred: only the scoring process needs it

    from triage.model.engines.engine import ExactEngine  # deferred: imports torch

    class SleepingEngine(ExactEngine):
        """Sleeps without using a core; every photo is good."""

        name: Final = "sleeping"
        device: Final = torch.device("cpu")

        def logits(self, photos: "Tensor") -> "Tensor":
            time.sleep(float(os.environ[VARIABLE]) * len(photos))
            return torch.linspace(2, -1, 4).expand(len(photos), 5, -1)  # (n, 5, K)

    return SleepingEngine()


_stand_in = ModuleType("worker.inference")
_stand_in.load_engine = load_engine  # type: ignore[attr-defined]
sys.modules["worker.inference"] = _stand_in

from worker.app import app  # noqa: E402  # its tasks import the stand-in

__all__ = ["app"]
