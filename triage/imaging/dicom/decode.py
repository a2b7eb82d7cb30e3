"""Decodes one frame of a DICOM file. Overlays are ignored."""

import numpy as np
from pydicom import Dataset

from triage.errors import AttachmentError, ErrorCode
from triage.imaging.dicom.colour import colour_to_rgb, palette_to_rgb
from triage.imaging.dicom.description import PALETTE, PixelDescription, describe
from triage.imaging.dicom.elements import is_cut, is_short, read_data_set, value_of
from triage.imaging.dicom.encapsulated import (
    ITEM,
    READ_SYNTAXES,
    DecodedFrame,
    decode_frame,
    frames_of,
    unsupported_transfer_syntax,
)
from triage.imaging.dicom.grey import grey_to_levels
from triage.imaging.dicom.native import n_frames_within, native_frame, stored_values
from triage.imaging.faults import corrupt, truncated
from triage.imaging.formats import MediaType
from triage.imaging.limits import MOST_BYTES, ImageLimits, check_size, memory_for
from triage.imaging.photo import DecodedPhoto, Note


def decode_dicom(data: bytes, limits: ImageLimits) -> DecodedPhoto:
    """Decodes one frame of a DICOM file: the middle one of a multi-frame file.

    Args:
        data: a file in the DICOM File Format, or a bare data set.
        limits: checked on Rows, Columns and the number of frames before pixels are decoded.

    Returns:
        Colour as RGB for every supported PhotometricInterpretation; grey after the modality and VOI
        transformations, MONOCHROME1 inverted. More than 8 bits are scaled to 8.

    Raises:
        AttachmentError: the file cannot be assessed; `code` gives the reason.
    """
    try:
        dataset = read_data_set(data)
        pixels = describe(dataset)
    except (AttachmentError, MemoryError):
        raise
    except Exception as error:  # pydicom raises many types on damaged data sets
        raise (truncated() if is_cut(data) else corrupt("header")) from error
    if pixels is None:
        if is_cut(data):
            raise truncated()
        raise _no_pixels()
    check_size(pixels.width, pixels.height, 1, limits)
    try:
        with memory_for(pixels.width * pixels.height * MOST_BYTES):
            return _decode(dataset, pixels, limits)
    except (AttachmentError, MemoryError):
        raise
    except Exception as error:  # as do its decoders
        raise corrupt() from error


def _decode(dataset: Dataset, pixels: PixelDescription, limits: ImageLimits) -> DecodedPhoto:
    decoded, n_frames, frame = _middle_frame(dataset, pixels, limits)
    values = stored_values(decoded.cells, pixels, decoded.precision)
    bits = min(decoded.precision, pixels.bits_stored)
    notes: tuple[Note, ...] = ()
    if values.ndim == 3:
        shown = colour_to_rgb(values, bits, decoded.photometric)
    elif pixels.photometric == PALETTE:
        shown = palette_to_rgb(values, dataset, is_signed=pixels.is_signed)
    else:
        levels = grey_to_levels(values, dataset, pixels, bits, frame)
        grey = 255 - levels.pixels if pixels.photometric == "MONOCHROME1" else levels.pixels
        shown = np.repeat(grey[..., None], 3, axis=2)
        notes = (Note.INVALID_WINDOW,) if levels.is_voi_ignored else ()
    is_colour = values.ndim == 3 or pixels.photometric == PALETTE
    profile = value_of(dataset, "ICCProfile") if is_colour else None
    return DecodedPhoto(
        shown,
        MediaType.DICOM,
        profile=profile if isinstance(profile, bytes) else None,
        n_frames=n_frames,
        frame=frame,
        notes=notes,
    )


def _middle_frame(dataset: Dataset, pixels: PixelDescription, limits: ImageLimits) -> tuple[DecodedFrame, int, int]:
    """Returns the frame, the number of frames in the file, which may be less than stated, and the index."""
    element = dataset.get_item(pixels.keyword, keep_deferred=True)
    data = element.value or b""
    if data.startswith(ITEM):
        frames = frames_of(data, pixels.n_frames)
        if not frames:
            raise _no_pixels()
        check_size(pixels.width, pixels.height, len(frames), limits)
        return decode_frame(frames[len(frames) // 2], pixels, limits), len(frames), len(frames) // 2
    if not data:
        raise _no_pixels()
    if is_short(element):
        raise truncated()
    if pixels.syntax not in READ_SYNTAXES:
        raise unsupported_transfer_syntax()
    n_frames = n_frames_within(len(data), pixels)
    if not n_frames:
        raise truncated()
    check_size(pixels.width, pixels.height, n_frames, limits)
    is_swapped = element.VR == "OW" and not pixels.syntax.is_little_endian
    cells = native_frame(data, pixels, n_frames // 2, are_words_swapped=is_swapped)
    return DecodedFrame(cells, pixels.bits_allocated, pixels.photometric), n_frames, n_frames // 2


def _no_pixels() -> AttachmentError:
    return AttachmentError(ErrorCode.NO_PIXELS, "the DICOM file contains no image: send the photo itself")
