"""Grey to 8 bits: modality transformation, then VOI transformation.

Source: DICOM PS3.3 C.11.1 (Modality LUT), C.11.2 (VOI LUT), C.7.6.16.2.9 and .10 (functional groups).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from triage.imaging.dicom.description import PixelDescription
from triage.imaging.dicom.elements import items, numbers, value_of, word
from triage.imaging.dicom.native import stored_values
from triage.imaging.dicom.tables import Table, read_table

Array = NDArray[Any]
_FUNCTIONS: Final = ("LINEAR", "LINEAREXACT", "SIGMOID")
_MAX_DISTINCT: Final = 1 << 16
_MOST_SLOPE: Final = 1e12
"""Beyond it, and for an intercept that is larger than the slope by it, floats cannot tell values apart."""

_OUTLIERS: Final = 1e-4
"""Share of the darkest and of the brightest pixels that do not count for the stretch: hot and dead pixels."""


@dataclass(frozen=True, slots=True)
class Window:
    """
    Attributes:
        function: one of _FUNCTIONS.
    """

    centre: float
    width: float
    function: str

    def apply(self, values: Array) -> Array:
        """Maps values to 0..255. Source: PS3.3 C.11.2.1.2.1, C.11.2.1.3."""
        if self.function == "SIGMOID":
            exponent: Array = -4 * (values - self.centre) / self.width
            levels: Array = 255 / (1 + np.exp(exponent.clip(-700, 700)))
            return levels
        if self.function == "LINEAREXACT":
            return ((values - self.centre) / self.width + 0.5) * 255
        if self.width == 1:
            return np.where(values <= self.centre - 0.5, 0.0, 255.0)
        exact: Array = ((values - (self.centre - 0.5)) / (self.width - 1) + 0.5) * 255
        return exact


@dataclass(frozen=True, slots=True)
class GreyLevels:
    """
    Attributes:
        pixels: (H, W), dark to bright as MONOCHROME2.
        is_voi_ignored: the data set has an invalid window or VOI LUT.
    """

    pixels: NDArray[np.uint8]
    is_voi_ignored: bool


def grey_to_levels(values: Array, dataset: Dataset, pixels: PixelDescription, bits: int, frame: int) -> GreyLevels:
    """Shows (H, W) of stored values as a viewer does.

    The first valid VOI LUT or window decides. Without one, the range of the values depends on their depth: `_range`.

    Args:
        bits: that the values can use.
        frame: index of the frame, for functional groups.
    """
    if values.dtype.kind == "f":
        is_finite = np.isfinite(values)
        values = np.where(is_finite, values, values.min(where=is_finite, initial=np.inf) if is_finite.any() else 0)
    inputs, places, counts = _distinct(values)
    groups = list(_groups(dataset, frame))
    modality = _Modality.of(groups, pixels)
    outputs = modality.apply(inputs)
    shown, is_ignored = _apply_voi(outputs, groups, modality)
    if shown is None:
        counts = _without_padding(counts, inputs, dataset, pixels)
        low, high = _range(inputs, outputs, counts, modality, bits if values.dtype.kind in "iu" else 64, pixels)
        shown = (outputs - low) * (255 / (high - low))
    levels = (shown.clip(0, 255) + 0.5).astype(np.uint8)
    return GreyLevels(levels[places].reshape(values.shape), is_ignored)


def _distinct(values: Array) -> tuple[Array, Array, Array]:
    """Returns values in ascending order, the place of each pixel's value among them, and the number of its pixels."""
    if values.dtype.kind in "iu":
        low, high = int(values.min()), int(values.max())
        if high - low < _MAX_DISTINCT:
            places = values.astype(np.int64) - low
            return np.arange(low, high + 1), places, np.bincount(places.ravel(), minlength=high - low + 1)
    inputs, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    return inputs, places, counts


def _groups(dataset: Dataset, frame: int) -> Iterator[Dataset]:
    """Where transformations are stated: in functional groups of the frame, of all frames, and in the data set."""
    per_frame, shared = (items(dataset, f"{whose}FunctionalGroupsSequence") for whose in ("PerFrame", "Shared"))
    for group in (*per_frame[frame : frame + 1], *shared[:1]):
        yield from items(group, "FrameVOILUTSequence")[:1]
        yield from items(group, "PixelValueTransformationSequence")[:1]
    yield dataset


@dataclass(frozen=True, slots=True)
class _Modality:
    slope: float
    intercept: float
    table: Table | None

    @classmethod
    def of(cls, groups: list[Dataset], pixels: PixelDescription) -> "_Modality":
        for group in groups:
            for item in items(group, "ModalityLUTSequence")[:1]:
                table = read_table(item, "LUTDescriptor", "LUTData", is_signed=pixels.is_signed)
                if table is not None:
                    return cls(1, 0, table)
        slope, intercept = (
            next((number for group in groups for number in numbers(group, keyword)), 0.0)
            for keyword in ("RescaleSlope", "RescaleIntercept")
        )
        is_sound = 1 / _MOST_SLOPE < abs(slope) < _MOST_SLOPE and abs(intercept) < _MOST_SLOPE * abs(slope)
        return cls(slope, intercept, None) if is_sound else cls(1, 0, None)

    def apply(self, values: Array) -> Array:
        if self.table is not None:
            return self.table.map(values).astype(float)
        return values.astype(float) * self.slope + self.intercept


def _apply_voi(values: Array, groups: list[Dataset], modality: _Modality) -> tuple[Array | None, bool]:
    """Returns the values as 0..255, None without a valid VOI transformation; and whether an invalid one was met."""
    is_ignored = False
    for group in groups:
        for item in items(group, "VOILUTSequence"):
            table = read_table(item, "LUTDescriptor", "LUTData", is_signed=bool(values.min() < 0))
            if table is not None:
                return table.map(values) * (255 / table.white(unused_bits=2)), is_ignored
            is_ignored = True
        for window in _windows(group, abs(modality.slope)):
            if window is not None:
                return window.apply(values), is_ignored
            is_ignored = True
    return None, is_ignored


def _windows(group: Dataset, step: float) -> Iterator[Window | None]:
    """Yields the windows in their order, None for an invalid one.

    Args:
        step: between neighbouring values. A LINEAR window must be 1 or wider. A narrower one that spans several values
            is read as LINEAR_EXACT, which is what its writer meant.
    """
    stated = [value_of(group, keyword) is not None for keyword in ("WindowCenter", "WindowWidth")]
    if any(stated):
        centres, widths = numbers(group, "WindowCenter"), numbers(group, "WindowWidth")
        function = word(group, "VOILUTFunction") or "LINEAR"
        if not centres or not widths:
            yield None
        for centre, width in zip(centres, widths, strict=False):
            meant = "LINEAREXACT" if function == "LINEAR" and step < width < 1 else function
            is_valid = meant in _FUNCTIONS and width > 0 and (width >= 1 or meant != "LINEAR")
            yield Window(centre, width, meant) if is_valid else None


def _without_padding(counts: Array, inputs: Array, dataset: Dataset, pixels: PixelDescription) -> Array:
    """Sets the number of padding pixels to 0. Source: PS3.3 C.7.5.1.1.2."""
    padding = numbers(dataset, "PixelPaddingValue")[:1] + numbers(dataset, "PixelPaddingRangeLimit")[:1]
    if not padding or pixels.is_float:
        return counts
    cells = np.array(padding).astype(np.int64).astype(f"u{max(1, pixels.bits_allocated // 8)}")
    ends = stored_values(cells, pixels, pixels.bits_allocated).astype(np.int64)  # some writers state the other sign
    kept = np.where((inputs >= ends.min()) & (inputs <= ends.max()), 0, counts)
    return kept if kept.any() else counts


def _range(
    inputs: Array, outputs: Array, counts: Array, modality: _Modality, bits: int, pixels: PixelDescription
) -> tuple[float, float]:
    """Which values are black and white without a VOI transformation.

    Values keep their levels if they have 8 bits or fewer, or if they are unsigned and use the upper half of their bits.
    Others, which state more bits than they use or have a unit, are stretched from the darkest to the brightest pixel.
    """
    ranked = inputs if modality.table is None else outputs
    darkest, brightest = _extremes(ranked, counts)
    is_full = not pixels.is_signed and bits <= 16 and brightest >= 1 << (bits - 1)
    if modality.table is None and (bits <= 8 or is_full):
        lowest = -(1 << (bits - 1)) if pixels.is_signed else 0
        darkest, brightest = lowest, lowest + (1 << bits) - 1
    if modality.table is None:
        darkest, brightest = sorted(modality.apply(np.array([darkest, brightest])))
    return float(darkest), float(brightest if brightest > darkest else darkest + 1)


def _extremes(values: Array, counts: Array) -> tuple[float, float]:
    """The darkest and the brightest value, without outliers."""
    order = np.argsort(values)
    upto = np.cumsum(counts[order])
    outliers = max(1, int(_OUTLIERS * upto[-1]))
    low = min(int(np.searchsorted(upto, outliers, side="right")), len(order) - 1)
    high = int(np.searchsorted(upto, upto[-1] - outliers))
    first, last = values[order[low]], values[order[high]]
    if first < last:
        return float(first), float(last)
    met = values[counts > 0]
    return float(met.min()), float(met.max())
