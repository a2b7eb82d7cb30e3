"""Colour to RGB: palettes and YBR. Source: DICOM PS3.3 C.7.6.3.1.2 (photometric interpretations)."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom import Dataset
from pydicom.pixels import apply_color_lut

from triage.imaging.dicom.tables import read_table
from triage.imaging.faults import corrupt

_COLOURS: Final = ("Red", "Green", "Blue")


def palette_to_rgb(indices: NDArray[Any], dataset: Dataset, *, is_signed: bool) -> NDArray[np.uint8]:
    """Maps (H, W) of indices to (H, W, 3).

    Raises:
        AttachmentError: there is no palette.
    """
    if "SegmentedRedPaletteColorLookupTableData" in dataset:
        colours = apply_color_lut(indices, dataset)
        return top_8_bits(colours, 8 * colours.dtype.itemsize)
    names = [f"{colour}PaletteColorLookupTable" for colour in _COLOURS]
    tables = [
        table
        for name in names
        if (table := read_table(dataset, f"{name}Descriptor", f"{name}Data", is_signed=is_signed)) is not None
    ]
    if len(tables) != len(names):
        raise corrupt("header")
    scale = 255 / max(table.white(unused_bits=8) for table in tables)
    pixels = np.empty((*indices.shape, 3), np.uint8)
    for channel, table in enumerate(tables):
        pixels[..., channel] = table.scaled(scale).map(indices)
    return pixels


def colour_to_rgb(pixels: NDArray[Any], bits: int, photometric: str) -> NDArray[np.uint8]:
    """Reduces (H, W, 3) to 8 bits and converts YBR to RGB; YBR of JPEG 2000 was converted by its decoder."""
    colours = top_8_bits(pixels, bits)
    if photometric.startswith("YBR_PARTIAL"):
        colours = _full_range(colours)
    elif not photometric.startswith("YBR_FULL"):
        return colours
    # Pillow's YCbCr is YBR_FULL
    return np.array(Image.frombuffer("YCbCr", colours.shape[1::-1], colours.tobytes()).convert("RGB"))


def _full_range(colours: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Luminance of 16 to 235 and chrominance of 16 to 240 to 0 to 255."""
    levels = np.arange(256)
    luminance = ((levels - 16) * (255 / 219)).round().clip(0, 255).astype(np.uint8)
    chrominance = ((levels - 128) * (255 / 224) + 128).round().clip(0, 255).astype(np.uint8)
    return np.stack([luminance[colours[..., 0]], *(chrominance[colours[..., each]] for each in (1, 2))], axis=-1)


def top_8_bits(pixels: NDArray[Any], bits: int) -> NDArray[np.uint8]:
    """Scales samples to 8 bits. Samples of 8 bits that are stated to be deeper keep their levels."""
    if bits > 8 and int(pixels.max()) < 256:
        bits = 8
    return (pixels >> max(0, bits - 8) << max(0, 8 - bits)).astype(np.uint8)
