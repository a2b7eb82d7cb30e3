import threading
from contextlib import closing
from typing import Any

import pytest
import torch
from torch import Tensor

from triage.errors import DeviceLostError
from triage.model.engines.device_thread import DeviceThread
from triage.model.engines.engine import ExactEngine


class Noting(ExactEngine):
    """Notes the thread of each call."""

    name = "noting"
    device = torch.device("cpu")

    def __init__(self) -> None:
        self.threads = {threading.current_thread()}
        self.error: Exception | None = None

    def logits(self, photos: Tensor) -> Tensor:
        self.threads.add(threading.current_thread())
        if self.error:
            raise self.error
        return torch.zeros(len(photos), 5, 4)


def _call_everything(engine: Any) -> None:
    photos = torch.zeros(1, 3, 448, 448, dtype=torch.uint8)
    engine.compare(engine.logits(photos), engine.exact_logits(photos))
    engine.check()


def test_one_thread_loads_and_runs_all_engines_whoever_calls() -> None:
    with closing(DeviceThread()) as device:
        engines: list[Noting] = []

        def load() -> Noting:
            engines.append(Noting())
            return engines[-1]

        shared = [device.load(load), device.load(load)]
        callers = [threading.Thread(target=_call_everything, args=(engine,)) for engine in shared]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
        _call_everything(shared[0])

    [thread] = engines[0].threads | engines[1].threads
    assert thread is not threading.current_thread()


def test_errors_reach_the_caller() -> None:
    with closing(DeviceThread()) as device:
        engine = Noting()
        engine.error = ValueError("any")

        with pytest.raises(DeviceLostError):
            device.load(lambda: engine).check()
