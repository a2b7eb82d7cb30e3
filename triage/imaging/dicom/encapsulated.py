"""Compressed pixels. The codestream of a frame, not the stated transfer syntax, decides how it is decoded.

Source: DICOM PS3.5, annex A.4 (fragments), 8.2 (codestreams).
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydicom.encaps import encapsulate
from pydicom.pixels import get_decoder
from pydicom.uid import (
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from triage.errors import AttachmentError, ErrorCode
from triage.imaging.dicom.description import RGB, PixelDescription
from triage.imaging.faults import corrupt, truncated, unsupported_variant
from triage.imaging.jpeg import (
    JpegHeader,
    decode_pixels,
    read_header,
    segments,
    without_colour_transform,
)
from triage.imaging.limits import MOST_BYTES, ImageLimits, check_size, memory_for
from triage.imaging.structure import FRAMES

ITEM: Final = b"\xfe\xff\x00\xe0"
READ_SYNTAXES: Final = frozenset(
    {ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian}
    | {JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1, JPEGLSLossless, JPEGLSNearLossless}
    | {JPEG2000, JPEG2000Lossless, RLELossless}
)
_COMPONENTS: Final = (1, 3)
_LOSSLESS, _JPEG_LS, _HUFFMAN_TABLES, _START_OF_SCAN = 0xC3, 0xF7, 0xC4, 0xDA
_RGB_IDS: Final = (b"RGB", b"rgb")
_KNOWN_IDS: Final = (b"\1\2\3", b"RGB")  # libjpeg takes them for YCbCr and RGB
_RLE_HEADER_BYTES: Final = 64
_MAX_RLE_SEGMENTS: Final = 15
_START_OF_CODESTREAM: Final = b"\xff\x4f\xff\x51"  # JPEG 2000
_END_OF_IMAGE: Final = b"\xff\xd9"


@dataclass(frozen=True, slots=True)
class DecodedFrame:
    """
    Attributes:
        cells: (H, W) or (H, W, 3), as the codec returns them.
        precision: bits of a cell that hold data.
        photometric: of the cells.
    """

    cells: NDArray[Any]
    precision: int
    photometric: str


def frames_of(data: bytes, n_frames: int) -> list[bytes]:
    """Splits encapsulated pixel data into frames.

    Frames are separated by the starts of their codestreams, then by the Basic Offset Table, which writers leave empty
    or fill with wrong offsets.

    Returns:
        At most `n_frames` frames. Fragments that cannot be separated are one frame.

    Raises:
        AttachmentError: a fragment lies beyond the end of the data.
    """
    (_, table), *fragments = list(_fragments(data)) or [(0, b"")]
    if n_frames == 1 or len(fragments) <= 1:
        return [b"".join(part for _, part in fragments)] if fragments else []
    starts = [number for number, (_, part) in enumerate(fragments) if _starts_codestream(part)]
    if len(starts) < n_frames and len(fragments) > n_frames:
        offsets = struct.unpack(f"<{len(table) // 4}I", table[: len(table) // 4 * 4])
        places = {at: number for number, (at, _) in enumerate(fragments)}
        listed = [places[offset] for offset in offsets if offset in places]
        starts = listed if len(listed) == n_frames else starts
    elif len(starts) < n_frames:
        starts = list(range(len(fragments)))
    ends = [*starts[1:], len(fragments)]
    return [b"".join(part for _, part in fragments[start:end]) for start, end in zip(starts, ends, strict=True)][
        :n_frames
    ]


def _fragments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yields the offset of each item, counted from the second, and its bytes. The first item is the offset table."""
    position, origin = 0, None
    while data[position : position + 4] == ITEM:
        start = position + 8
        end = start + int.from_bytes(data[position + 4 : start], "little")
        if end > len(data):
            raise truncated()
        yield position - (origin or 0), data[start:end]
        origin, position = end if origin is None else origin, end


def _starts_codestream(fragment: bytes) -> bool:
    return fragment.startswith((b"\xff\xd8\xff", b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  ")) or _is_rle(fragment)


def decode_frame(frame: bytes, pixels: PixelDescription, limits: ImageLimits) -> DecodedFrame:
    """Decodes one compressed frame.

    Raises:
        AttachmentError: the frame is damaged or of a kind that is not read.
        Exception: of any type, if the frame is damaged.
    """
    if pixels.syntax not in READ_SYNTAXES:
        raise unsupported_transfer_syntax()
    if frame.startswith(b"\xff\xd8"):
        process = next((each.marker for each in segments(frame) if each.marker in FRAMES | {_JPEG_LS}), None)
        if process == _JPEG_LS:
            return _decode_jpeg_ls(frame, pixels)
        header = read_header(frame)
        if process == _LOSSLESS:
            return _decode_lossless(frame, header, pixels)
        return _decode_jpeg(frame, header, pixels, limits)
    place = frame.find(_START_OF_CODESTREAM, 0, 4096)
    if place >= 0:
        return _decode_jpeg_2000(frame[place:], pixels)
    if _is_rle(frame) or pixels.syntax == RLELossless:
        return _decode_by_pydicom(frame, pixels, RLELossless, "pydicom", pixels.bits_allocated)
    raise corrupt()


def unsupported_transfer_syntax() -> AttachmentError:
    return AttachmentError(
        ErrorCode.UNSUPPORTED_TRANSFER_SYNTAX,
        "unsupported DICOM transfer syntax: export the photo as JPEG, JPEG 2000 or uncompressed",
    )


def _decode_jpeg(frame: bytes, header: JpegHeader, pixels: PixelDescription, limits: ImageLimits) -> DecodedFrame:
    """Decodes 8-bit lossy JPEG as a JPEG file is decoded: with the same pixels and the same care for damage."""
    if not header.is_read or len(header.components) not in _COMPONENTS:
        raise unsupported_transfer_syntax()
    check_size(header.width, header.height, 1, limits)
    if len(header.components) == 1:
        return DecodedFrame(decode_pixels(frame, header)[..., 0], 8, pixels.photometric)
    if _is_rgb(header, pixels):
        frame = without_colour_transform(frame)
    return DecodedFrame(decode_pixels(frame, header), 8, RGB)


def _is_rgb(header: JpegHeader, pixels: PixelDescription) -> bool:
    """Whether the components are RGB although libjpeg takes them for YCbCr.

    libjpeg goes by JFIF, Adobe's marker and the usual component ids, as DCMTK does, and else assumes YCbCr.
    PhotometricInterpretation decides only then, and not if components are subsampled, as RGB never is.
    """
    if header.has_jfif or header.has_adobe or header.components in _KNOWN_IDS or len(set(header.sampling)) > 1:
        return False
    return header.components in _RGB_IDS or pixels.photometric == RGB


def _decode_lossless(frame: bytes, header: JpegHeader, pixels: PixelDescription) -> DecodedFrame:
    _check_tables(frame)
    syntax = pixels.syntax if pixels.syntax == JPEGLosslessSV1 else JPEGLossless
    return _decode_by_pydicom(frame, pixels, syntax, "gdcm", header.precision, n_samples=len(header.components))


def _check_tables(frame: bytes) -> None:
    """Refuses a frame without tables, or with damage between its segments: GDCM aborts on it.

    Source: ITU-T T.81, B.1.1.2 (fill bytes), B.2.1 (order of segments).
    """
    end, has_tables = 2, False
    for segment in segments(frame):
        if frame[end : segment.at].strip(b"\xff"):
            raise corrupt()
        if segment.marker == _START_OF_SCAN:
            break
        end, has_tables = segment.end, has_tables or segment.marker == _HUFFMAN_TABLES
    if not has_tables:
        raise corrupt()


def _decode_jpeg_ls(frame: bytes, pixels: PixelDescription) -> DecodedFrame:
    """Source: ITU-T T.87, C.2.2 (frame header)."""
    place = frame.index(bytes([0xFF, _JPEG_LS])) + 4
    precision, n_samples = frame[place], frame[place + 5]
    syntax = pixels.syntax if pixels.syntax == JPEGLSNearLossless else JPEGLSLossless
    if precision in (6, 7) or (precision < 8 and pixels.is_signed and syntax == JPEGLSNearLossless):
        raise unsupported_variant()  # GDCM decodes them wrongly
    return _decode_by_pydicom(frame, pixels, syntax, "gdcm", precision, n_samples, is_signed=pixels.is_signed)


def _decode_jpeg_2000(frame: bytes, pixels: PixelDescription) -> DecodedFrame:
    """Pillow, since GDCM aborts on damaged data; but Pillow reduces deep colour to 8 bits.

    Source: ITU-T T.800, A.5.1 (SIZ), A.6.1 (COD).
    """
    n_samples, depth = struct.unpack_from(">HB", frame, 40)
    precision = (depth & 0x7F) + 1
    if precision > 16 or n_samples not in (1, 3):
        raise unsupported_variant()
    plugin = "gdcm" if n_samples == 3 and precision > 8 else "pillow"
    try:
        with memory_for(pixels.width * pixels.height * MOST_BYTES):
            decoded = _decode_by_pydicom(
                frame, pixels, JPEG2000, plugin, precision, n_samples, is_signed=pixels.is_signed
            )
    except MemoryError:
        raise
    except Exception as error:  # pydicom and its plugins raise many types
        raise (corrupt() if frame.rstrip(b"\0").endswith(_END_OF_IMAGE) else truncated()) from error
    place = frame.find(b"\xff\x52", 4 + int.from_bytes(frame[4:6]))
    has_transform = place >= 0 and frame[place + 8 : place + 9] == b"\1"
    is_rgb = has_transform or pixels.photometric in ("YBR_ICT", "YBR_RCT")
    return DecodedFrame(decoded.cells, precision, RGB if n_samples == 3 and is_rgb else pixels.photometric)


def _decode_by_pydicom(
    frame: bytes,
    pixels: PixelDescription,
    syntax: UID,
    plugin: str,
    precision: int,
    n_samples: int | None = None,
    *,
    is_signed: bool = False,
) -> DecodedFrame:
    n_samples = n_samples or pixels.n_samples
    allocated = pixels.bits_allocated if plugin == "pydicom" else 8 if precision <= 8 else 16
    options: dict[str, Any] = {
        "rows": pixels.height,
        "columns": pixels.width,
        "number_of_frames": 1,
        "samples_per_pixel": n_samples,
        "planar_configuration": 0,
        "photometric_interpretation": _photometric_of(pixels, n_samples),
        "bits_allocated": allocated,
        "bits_stored": min(precision, allocated),
        "pixel_representation": int(is_signed),
        "pixel_keyword": "PixelData",
        "correct_unused_bits": False,
    }
    source = encapsulate([frame], has_bot=False)
    cells, facts = get_decoder(syntax).as_array(source, index=0, raw=True, decoding_plugin=plugin, **options)
    return DecodedFrame(np.asarray(cells), precision, str(facts["photometric_interpretation"]))


def _photometric_of(pixels: PixelDescription, n_samples: int) -> str:
    if n_samples == pixels.n_samples:
        return "YBR_FULL" if pixels.is_subsampled else pixels.photometric
    return RGB if n_samples == 3 else "MONOCHROME2"


def _is_rle(frame: bytes) -> bool:
    """Source: PS3.5, annex G.5."""
    if len(frame) < _RLE_HEADER_BYTES:
        return False
    n, first = struct.unpack_from("<II", frame)
    return 1 <= int(n) <= _MAX_RLE_SEGMENTS and int(first) == _RLE_HEADER_BYTES
