"""Uncompressed pixels. Sources: DICOM PS3.5, 8.1 and annex D (cells, bits), PS3.3 C.7.6.3.1.2 (YBR_FULL_422)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from triage.imaging.dicom.description import PixelDescription


def n_frames_within(n_bytes: int, pixels: PixelDescription) -> int:
    """How many of the stated frames the bytes hold."""
    return min(pixels.n_frames, 8 * n_bytes // _bits_of_frame(n_bytes, pixels))


def native_frame(data: bytes, pixels: PixelDescription, frame: int, *, are_words_swapped: bool) -> NDArray[Any]:
    """
    Args:
        data: the value of the pixel element; it holds the frame.
        are_words_swapped: cells of 8 bits are stored in 16-bit words of the other byte order.

    Returns:
        (H, W) or (H, W, 3) of cells: unsigned integers of BitsAllocated, or floats.
    """
    order = "<" if pixels.syntax.is_little_endian else ">"
    bits = _bits_of_frame(len(data), pixels)
    if are_words_swapped and pixels.bits_allocated <= 8:
        data = np.frombuffer(data + bytes(len(data) % 2), np.uint16).byteswap().tobytes()
    start, end = frame * bits, (frame + 1) * bits
    part = data[start // 8 : (end + 7) // 8]
    if pixels.bits_allocated == 1:
        return np.unpackbits(np.frombuffer(part, np.uint8), bitorder="little")[start % 8 :][:bits].reshape(
            pixels.height, pixels.width
        )
    kind = "f" if pixels.is_float else "u"
    cells = np.frombuffer(part, f"{order}{kind}{_cell_bits(pixels) // 8}")
    cells = cells.astype(cells.dtype.newbyteorder("="), copy=False)
    if _is_subsampled(len(data), pixels):
        return _with_all_chroma(cells, pixels)
    if pixels.n_samples == 1:
        return cells.reshape(pixels.height, pixels.width)
    if pixels.is_planar:
        return np.moveaxis(cells.reshape(3, pixels.height, pixels.width), 0, 2)
    return cells.reshape(pixels.height, pixels.width, 3)


def _cell_bits(pixels: PixelDescription) -> int:
    return {"FloatPixelData": 32, "DoubleFloatPixelData": 64}.get(pixels.keyword, pixels.bits_allocated)


def _bits_of_frame(n_bytes: int, pixels: PixelDescription) -> int:
    width = pixels.width
    samples: int = pixels.n_samples
    if _is_subsampled(n_bytes, pixels):
        width, samples = width + width % 2, 2
    return pixels.height * width * samples * _cell_bits(pixels)


def _is_subsampled(n_bytes: int, pixels: PixelDescription) -> bool:
    """Some writers state YBR_FULL_422 for pixels with all their chroma, which takes half as many bytes more."""
    whole = pixels.height * pixels.width * 3 * _cell_bits(pixels) // 8
    return pixels.is_subsampled and n_bytes < whole * pixels.n_frames


def _with_all_chroma(cells: NDArray[Any], pixels: PixelDescription) -> NDArray[Any]:
    """Y1 Y2 Cb Cr of two pixels -> Y1 Cb Cr, Y2 Cb Cr. Rows of odd width have one pixel more than is shown."""
    pairs = cells.reshape(pixels.height, -1, 4)
    colours = np.empty((pixels.height, pairs.shape[1] * 2, 3), cells.dtype)
    colours[..., 0] = pairs[..., :2].reshape(pixels.height, -1)
    colours[..., 1:] = np.repeat(pairs[..., 2:], 2, axis=1)
    return colours[:, : pixels.width]


def stored_values(cells: NDArray[Any], pixels: PixelDescription, precision: int) -> NDArray[Any]:
    """Takes BitsStored bits below HighBit out of cells, with their sign. Other bits may hold an overlay.

    Args:
        precision: bits of a cell that hold data: BitsAllocated, or what the codestream says.
    """
    if cells.dtype.kind == "f" or precision <= pixels.bits_stored:
        is_signed = pixels.is_signed and cells.dtype.kind == "u" and precision == pixels.bits_stored
        return _with_sign(cells, precision) if is_signed else cells
    shift = pixels.high_bit + 1 - pixels.bits_stored if precision > pixels.high_bit else 0
    unsigned = cells.view(f"u{cells.dtype.itemsize}") >> shift
    values = unsigned & unsigned.dtype.type((1 << pixels.bits_stored) - 1)
    return _with_sign(values, pixels.bits_stored) if pixels.is_signed else values


def _with_sign(values: NDArray[Any], bits: int) -> NDArray[Any]:
    unused = 8 * values.dtype.itemsize - bits
    return (values << unused).view(f"i{values.dtype.itemsize}") >> unused
