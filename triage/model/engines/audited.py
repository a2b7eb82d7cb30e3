"""An engine whose fast passes are compared with exact ones: when it is loaded, while it is used, and after errors.

Axes: n photos, 5 patches, K outputs.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

import torch
from torch import Tensor

from triage.errors import DeviceLostError
from triage.model.engines.engine import DEVICE_LOST, EngineUnavailableError, PlainEngine, check_engine
from triage.model.engines.tolerance import EXACT, ROUNDING, Tolerance, draw_pictures, tolerance_for

BATCHES_PER_AUDIT: Final = 64
"""One batch in this number has a random photo that is also scored exactly."""


class FastEngine(PlainEngine, Protocol):
    """An engine whose `logits` may not be exact."""

    @property
    def photos_per_call(self) -> int:
        """Photos in its largest batch."""
        ...


@dataclass(frozen=True, slots=True)
class Comparison:
    """Photos that were scored twice.

    Attributes:
        engine: its name.
        photos: their number.
        largest_error: of a finite logit, since the engine was loaded.
        is_within: the error is within the tolerance. If not, the engine has turned its fast passes off.
    """

    engine: str
    photos: int
    largest_error: float
    is_within: bool


class AuditedEngine:
    """Wraps an engine whose `logits` may not be exact, and makes it one whose error is known."""

    def __init__(self, engine: FastEngine, *, on_compared: Callable[[Comparison], object] = lambda _: None) -> None:
        """
        Args:
            engine: is compared in its largest batch and with single photos.
            on_compared: called whenever photos were scored twice.

        Raises:
            EngineUnavailableError: the engine is not exact enough.
            DeviceError: the device cannot run the network now.
        """
        self._engine = engine
        self._on_compared = on_compared
        self._batches = 0
        self._largest_error = 0.0
        pictures = draw_pictures()  # (n, 3, 448, 448)
        self._expected = torch.cat([engine.logits(picture) for picture in pictures.split(1)])  # (n, 5, K)
        full_batches = pictures.repeat(engine.photos_per_call // len(pictures), 1, 1, 1)  # kernels depend on the size
        found = [self._expected, engine.logits(full_batches)] if len(full_batches) else [self._expected]
        tolerance = tolerance_for(found, engine.exact_logits(pictures))
        if tolerance is None:
            raise EngineUnavailableError(engine.name, "inexact")
        self._tolerance = tolerance
        self._reproducible = Tolerance(2 * max(tolerance.scale, ROUNDING))

    @property
    def name(self) -> str:
        """As `Engine.name`."""
        return self._engine.name

    @property
    def device(self) -> torch.device:
        """As `Engine.device`."""
        return self._engine.device

    @property
    def tolerance(self) -> Tolerance:
        """As `Engine.tolerance`."""
        return self._tolerance

    def logits(self, photos: Tensor) -> Tensor:
        """As `Engine.logits`."""
        if self._tolerance == EXACT:
            return self._engine.exact_logits(photos)
        logits = self._engine.logits(photos)  # (n, 5, K)
        self._batches += 1
        if self._batches % BATCHES_PER_AUDIT == 0:
            chosen = random.randrange(len(photos))  # noqa: S311  # a sample, not a secret
            audited = slice(chosen, chosen + 1)
            if not self.compare(logits[audited], self._engine.exact_logits(photos[audited])):
                return self._engine.exact_logits(photos)
        return logits

    def exact_logits(self, photos: Tensor) -> Tensor:
        """As `Engine.exact_logits`."""
        return self._engine.exact_logits(photos)

    def compare(self, found: Tensor, exact: Tensor) -> bool:
        """As `Engine.compare`. Beyond the tolerance, the engine turns its fast passes off."""
        errors = (found - exact).abs().where(found.isfinite(), 0.0)  # other photos are scored exactly anyway
        is_within = bool((errors <= self._tolerance.of(found)).logical_or(errors == 0).all())
        if not is_within:
            self._tolerance = EXACT
        self._largest_error = max(self._largest_error, float(errors.max()))
        self._on_compared(Comparison(self.name, len(found), self._largest_error, is_within))
        return is_within

    def check(self) -> None:
        """As `Engine.check`."""
        found = check_engine(self._engine)
        if not bool(((found - self._expected[:1]).abs() <= self._reproducible.of(found)).all()):
            raise DeviceLostError(DEVICE_LOST)
