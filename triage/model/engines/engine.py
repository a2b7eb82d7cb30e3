"""Engines run the network: one interface, with an implementation for each kind of machine.

An engine may trade exactness for speed. It states its largest error and can always compute exact logits too: photos
close to a boundary are scored exactly, so that no verdict depends on the engine.

Axes: n photos, 5 patches, K outputs.
"""

from typing import Final, Literal, Protocol

import torch
from torch import Tensor

from triage.errors import DeviceError, DeviceLostError
from triage.model.engines.tolerance import EXACT, Tolerance, draw_pictures

EngineName = Literal["auto", "torch", "mnn", "cuda"]
DEVICE_LOST: Final = "the device stopped computing: start the process again, and look into the driver's log"

Unavailability = Literal["missing", "broken", "inexact", "no_driver", "no_memory"]


class PlainEngine(Protocol):
    """One network, loaded on one device. One thread may use it at a time."""

    @property
    def name(self) -> str:
        """A constant, for logs and metrics."""
        ...

    @property
    def device(self) -> torch.device:
        """The device of the network. Results are on the CPU."""
        ...

    def logits(self, photos: Tensor) -> Tensor:
        """The logits of the patches, computed as fast as this engine can.

        Args:
            photos: uint8 (n, 3, 448, 448) on the CPU, RGB, upright; any n.

        Returns:
            float32 (n, 5, K) on the CPU: logits of P(votes >= 1) ... P(votes >= K).

        Raises:
            DeviceError: the device cannot run the network now; no photo is at fault.
        """
        ...

    def exact_logits(self, photos: Tensor) -> Tensor:
        """The logits of the patches by PyTorch in float32."""
        ...


class Engine(PlainEngine, Protocol):
    """An engine that knows how exact it is."""

    @property
    def tolerance(self) -> Tolerance:
        """The largest error of finite `logits`. It becomes `EXACT` if the engine turns its fast passes off."""
        ...

    def compare(self, found: Tensor, exact: Tensor) -> bool:
        """Notes how far logits of photos that were scored twice are apart.

        Args:
            found: float32 (n, 5, K), from `logits`.
            exact: float32 (n, 5, K), from `exact_logits`.

        Returns:
            False if the error exceeds the tolerance: other results of this batch cannot be relied on either.
        """
        ...

    def check(self) -> None:
        """Scores a built-in picture. A photo is at fault for an error only if this succeeds after it.

        Raises:
            DeviceLostError: the engine no longer computes what it computed before.
        """
        ...


class ExactEngine:
    """What engines have in common whose `logits` are exact."""

    tolerance: Tolerance = EXACT

    def exact_logits(self: PlainEngine, photos: Tensor) -> Tensor:
        """As `Engine.exact_logits`."""
        return self.logits(photos)

    def compare(self, found: Tensor, exact: Tensor) -> bool:  # noqa: ARG002  # see `Engine.compare`
        """As `Engine.compare`."""
        return True

    def check(self: PlainEngine) -> None:
        """As `Engine.check`."""
        check_engine(self)


class EngineUnavailableError(Exception):
    """An engine cannot be used on this machine; another one replaces it."""

    def __init__(self, engine: str, reason: Unavailability) -> None:
        super().__init__(f"the engine {engine} is unavailable: {reason}")
        self.engine = engine
        self.reason: Unavailability = reason


def check_engine(engine: PlainEngine) -> Tensor:
    """Scores a built-in picture, and returns its logits (1, 5, K).

    Raises:
        DeviceError: the engine cannot score it.
    """
    try:
        return engine.logits(draw_pictures()[:1])
    except DeviceError:
        raise
    except Exception as error:
        raise DeviceLostError(DEVICE_LOST) from error
