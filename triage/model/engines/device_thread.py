"""The one thread of a process that loads and runs networks.

cuDNN tunes kernels by thread, and an engine takes one caller at a time, while several threads load and use engines.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

from triage.model.engines.engine import Engine
from triage.model.engines.tolerance import Tolerance

P = ParamSpec("P")
T = TypeVar("T")


class DeviceThread:
    """Runs calls one after another, in the order in which they come."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="device")

    def close(self) -> None:
        """Ends the thread."""
        self._thread.shutdown()

    def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs a call there, and returns its result or raises its error."""
        return self._thread.submit(call, *args, **kwargs).result()

    def load(self, load: Callable[P, Engine], *args: P.args, **kwargs: P.kwargs) -> Engine:
        """Loads an engine there, and returns one that any thread may use."""
        return _SharedEngine(self.run(load, *args, **kwargs), self)


class _SharedEngine:
    def __init__(self, engine: Engine, thread: DeviceThread) -> None:
        self._engine = engine
        self._thread = thread

    @property
    def name(self) -> str:
        return self._engine.name

    @property
    def device(self) -> torch.device:
        return self._engine.device

    @property
    def tolerance(self) -> Tolerance:
        return self._engine.tolerance

    def logits(self, photos: Tensor) -> Tensor:
        return self._thread.run(self._engine.logits, photos)

    def exact_logits(self, photos: Tensor) -> Tensor:
        return self._thread.run(self._engine.exact_logits, photos)

    def compare(self, found: Tensor, exact: Tensor) -> bool:
        return self._thread.run(self._engine.compare, found, exact)

    def check(self) -> None:
        self._thread.run(self._engine.check)
