"""Engines run the network: one interface, with an implementation for each kind of machine.

An engine may trade exactness for speed. It states its largest error and can always compute exact logits too: photos
close to a boundary are scored exactly, so that no verdict depends on the engine.

Axes: n photos, 5 patches, K outputs.
"""

from typing import Final, Literal, Protocol

import torch
from torch import Tensor

from triage.model.patches import PHOTO_SIDE

EngineName = Literal["auto", "torch", "mnn", "cuda"]

PROBE_SHARE: Final = 0.25
"""An engine is used only if its error on the probe photo is within this share of its tolerance."""


class Engine(Protocol):
    """One network, loaded on one device. One thread may use it at a time."""

    @property
    def name(self) -> str:
        """A constant, for logs and metrics."""
        ...

    @property
    def device(self) -> torch.device:
        """The device of the network. Results are on the CPU."""
        ...

    @property
    def logit_tolerance(self) -> float:
        """The largest error of a finite logit; 0 where `logits` are exact."""
        ...

    def logits(self, photos: Tensor) -> Tensor:
        """The logits of the patches, computed as fast as this engine can.

        Args:
            photos: uint8 (n, 3, 448, 448) on the CPU, RGB, upright; any n.

        Returns:
            float32 (n, 5, K) on the CPU: logits of P(votes >= 1) ... P(votes >= K).
        """
        ...

    def exact_logits(self, photos: Tensor) -> Tensor:
        """The logits of the patches by PyTorch in float32."""
        ...


class EngineUnavailableError(Exception):
    """An engine cannot be used on this machine; another one replaces it."""

    def __init__(self, engine: str, reason: Literal["missing", "broken", "inexact"]) -> None:
        super().__init__(f"the engine {engine} is {reason}")
        self.engine = engine
        self.reason = reason


def is_exact_enough(engine: Engine) -> bool:
    """Whether the engine is well within its tolerance on a photo of fixed noise. NaN is not."""
    probe = _draw_probe()
    error = (engine.logits(probe) - engine.exact_logits(probe)).abs().max()  # (1, 5, K) -> ()
    return float(error) <= PROBE_SHARE * engine.logit_tolerance


def _draw_probe() -> Tensor:
    """Fine noise on the left, squares of 64 x 64 on the right: uint8 (1, 3, 448, 448)."""
    random = torch.Generator().manual_seed(0)
    probe = torch.randint(0, 256, (1, 3, PHOTO_SIDE, PHOTO_SIDE), dtype=torch.uint8, generator=random)
    squares = probe[:, :, ::64, ::64].repeat_interleave(64, dim=2).repeat_interleave(64, dim=3)
    probe[..., PHOTO_SIDE // 2 :] = squares[..., PHOTO_SIDE // 2 :]
    return probe
