"""Decodes JPEG files with libjpeg-turbo. No warning of it is ignored: docs/photos.md says which of them mean damage."""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from simplejpeg import decode_jpeg

from triage.imaging.colour import to_pixels
from triage.imaging.faults import corrupt, truncated, unsupported_variant
from triage.imaging.formats import MediaType
from triage.imaging.limits import ImageLimits, check_size, memory_for
from triage.imaging.memory import NewPixels, new_pixels
from triage.imaging.metadata import exif_facts, n_pictures_of_mpf
from triage.imaging.photo import DecodedPhoto
from triage.imaging.structure import FRAMES, STAND_ALONE

_EOI: Final = 0xD9
_SOS: Final = 0xDA
_APP0, _APP1, _APP2, _APP14 = 0xE0, 0xE1, 0xE2, 0xEE
_SEQUENTIAL: Final = frozenset({0xC0, 0xC1, 0xC9})
_PROGRESSIVE: Final = frozenset({0xC2, 0xCA})
_END_OF_SCAN_DATA: Final = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_TABLES: Final = frozenset({0xC4, 0xCC, 0xDB, 0xDD})  # DHT, DAC, DQT, DRI
_WORKING_BYTES: Final = 16 * 2**20
_ICC: Final = b"ICC_PROFILE\0"


@dataclass(frozen=True, slots=True)
class Segment:
    """A marker segment: the marker is at `data[at]`, the content is `data[start:end]`."""

    marker: int
    at: int
    start: int
    end: int


def segments(data: bytes) -> Iterator[Segment]:
    """Yields the marker segments up to the first EOI, or to the end of a truncated file. Source: ITU-T T.81, B.1.1."""
    position = 2
    while (found := _END_OF_SCAN_DATA.search(data, position)) is not None:
        at, position = found.span()
        marker = data[at + 1]
        if marker in STAND_ALONE:
            continue
        if marker == _EOI:
            yield Segment(marker, at, position, position)
            return
        if position + 2 > len(data):
            return
        end = position + int.from_bytes(data[position : position + 2])
        yield Segment(marker, at, position + 2, min(end, len(data)))
        position = max(end, position + 2)


@dataclass(frozen=True, slots=True)
class JpegHeader:
    """What the segments of a JPEG say.

    Attributes:
        process: the marker of the frame, SOF0 to SOF15.
        components: the ids of the components.
        sampling: horizontal and vertical factors of each component, 4 bits each.
        n_pictures: in the file; a Multi-Picture Format has several.
        is_whole: EOI was found.
        scans: the component ids, first and last coefficient (Ss, Se) and lowest bit (Al) of each scan.
    """

    width: int
    height: int
    precision: int
    process: int
    components: bytes
    sampling: bytes
    exif: bytes | None
    profile: bytes | None
    has_jfif: bool
    has_adobe: bool
    n_pictures: int
    is_whole: bool
    scans: tuple[tuple[bytes, int, int, int], ...]

    @property
    def is_read(self) -> bool:
        """Whether libjpeg decodes the picture: not 12 bits, lossless, hierarchical, or with a height given by DNL."""
        is_lossy = self.process in _SEQUENTIAL | _PROGRESSIVE
        return is_lossy and self.precision == 8 and len(self.components) in (1, 3, 4) and self.height > 0


def read_header(data: bytes) -> JpegHeader:
    """
    Raises:
        AttachmentError: there is no frame header.
    """
    frame: tuple[int, int, int, int, bytes, bytes] | None = None
    exif, parts, has_jfif, has_adobe, n_pictures = None, dict[int, bytes](), False, False, 1
    is_whole = data.endswith(b"\xff\xd9")  # damage can hide it from the search
    scans = []
    for segment in segments(data):
        content = data[segment.start : segment.end] if segment.marker not in _TABLES else b""
        match segment.marker:
            case marker if marker in FRAMES and frame is None and len(content) >= 6:
                precision, height, width, n = struct.unpack_from(">BHHB", content)
                frame = (marker, precision, height, width, content[6 : 6 + 3 * n : 3], content[7 : 6 + 3 * n : 3])
            case marker if marker == _SOS and len(content) >= 4:
                n = content[0]
                if len(content) >= 4 + 2 * n:
                    start, end, approximation = content[1 + 2 * n : 4 + 2 * n]
                    scans.append((content[1 : 1 + 2 * n : 2], start, end, approximation & 15))
            case marker if marker == _EOI:
                is_whole = True
            case marker if marker == _APP0 and content.startswith(b"JFIF\0"):
                has_jfif = True
            case marker if marker == _APP1 and content.startswith(b"Exif\0") and exif is None:
                exif = content
            case marker if marker == _APP2 and content.startswith(_ICC) and len(content) > len(_ICC) + 2:
                parts[content[len(_ICC)]] = content[len(_ICC) + 2 :]
            case marker if marker == _APP2 and content.startswith(b"MPF\0"):
                n_pictures = n_pictures_of_mpf(content[4:])
            case marker if marker == _APP14 and content.startswith(b"Adobe") and len(content) >= 12:
                has_adobe = True
    if frame is None:
        raise corrupt("header") if is_whole else truncated()
    process, precision, height, width, components, sampling = frame
    return JpegHeader(
        width=width,
        height=height,
        precision=precision,
        process=process,
        components=components,
        sampling=sampling,
        exif=exif,
        profile=b"".join(parts[number] for number in sorted(parts)) or None,
        has_jfif=has_jfif,
        has_adobe=has_adobe,
        n_pictures=n_pictures,
        is_whole=is_whole,
        scans=tuple(scans),
    )


def decode_jpeg_file(data: bytes, limits: ImageLimits, memory: NewPixels = new_pixels) -> DecodedPhoto:
    """Decodes the first picture of a JPEG file.

    Args:
        memory: provides the zeros to decode into.

    Raises:
        AttachmentError: the photo cannot be assessed; `code` gives the reason.
    """
    header = read_header(data)
    if not header.is_read:
        raise unsupported_variant()
    check_size(header.width, header.height, 1, limits)
    pixels = decode_pixels(data, header, memory)
    facts = exif_facts(header.exif)
    profile, n_components = header.profile, len(header.components)
    if n_components == 3:
        profile = profile or facts.profile
    elif n_components == 4 or profile:  # a profile of CMYK or grey cannot be applied to RGB later
        image = Image.fromarray(255 - pixels if header.has_adobe else pixels, "CMYK" if n_components == 4 else None)
        image = image if n_components == 4 else image.getchannel(0)
        image.info["icc_profile"] = profile
        pixels, profile = to_pixels(image)
    return DecodedPhoto(pixels, MediaType.JPEG, facts.orientation, profile, header.n_pictures)


def check_damage(data: bytes, limits: ImageLimits) -> None:
    """Decodes a JPEG that another decoder reads with less care for damage, such as libtiff.

    Raises:
        AttachmentError: the JPEG is damaged.
    """
    header = read_header(data)
    if header.width * header.height > limits.max_pixels:
        raise corrupt("header")
    if header.is_read:
        decode_pixels(data, header)


def decode_pixels(data: bytes, header: JpegHeader, memory: NewPixels = new_pixels) -> NDArray[np.uint8]:
    """Returns (H, W, 3), or (H, W, 4) of CMYK as stored. `header.is_read` must hold.

    The buffer is zeroed, so pixels that the decoder skips cannot show another photo.
    """
    if header.process in _PROGRESSIVE and not _is_complete(header):
        raise truncated() if not header.is_whole else corrupt()
    space, channels = ("CMYK", 4) if len(header.components) == 4 else ("RGB", 3)
    pixels = memory((header.height, header.width, channels))
    most = 2 * pixels.nbytes + _WORKING_BYTES  # a progressive JPEG is kept as coefficients of 16 bits
    try:
        with memory_for(most):
            decode_jpeg(data, space, buffer=pixels)
    except ValueError:
        try:
            pixels[:] = 0
            with memory_for(most):
                decode_jpeg(without_oddities(data), space, buffer=pixels)
        except ValueError as error:
            raise corrupt() if header.is_whole else truncated() from error
    return pixels


def without_colour_transform(data: bytes) -> bytes:
    """Returns the JPEG with Adobe's marker, which states that the components are RGB or CMYK. Source: T.872, 6.5.3."""
    return data[:2] + b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\0" + data[2:]


def _is_complete(header: JpegHeader) -> bool:
    """Whether the scans of a progressive JPEG refine every coefficient of the first component to its last bit.

    A file that lost scans decodes without a warning, to a blurred picture. Source: ITU-T T.81, G.1.1.1.
    """
    first = header.components[:1]
    lowest: dict[int, int] = {}
    for components, start, end, low in header.scans:
        if first in components:
            lowest |= dict.fromkeys(range(start, end + 1), low)
    return all(lowest.get(coefficient) == 0 for coefficient in range(64))


def without_oddities(data: bytes) -> bytes:
    """Returns the JPEG without what makes libjpeg warn although the picture is sound.

    Drops bytes between the segments of the header and all metadata. Corrects the spectral selection of sequential
    scans, which phones of Samsung leave 0, the version of JFIF, and unknown colour transforms of Adobe.
    """
    parts, scan_data, is_sequential, n_components = [b"\xff\xd8"], None, False, 0
    for segment in segments(data):
        if scan_data is not None:
            parts.append(data[scan_data : segment.at])
            scan_data = None
        content = data[segment.start : segment.end]
        match segment.marker:
            case marker if marker == _EOI:
                parts.append(b"\xff\xd9")
                continue
            case marker if marker == _APP0 and content.startswith(b"JFIF\0") and len(content) >= 14:
                content = content[:5] + b"\1\1" + content[7:12] + b"\0\0"
            case marker if marker == _APP14 and content.startswith(b"Adobe") and len(content) >= 12:
                ycc = 2 if n_components == 4 else 1  # T.872, 6.5.3
                content = content[:11] + bytes([content[11] if content[11] in (0, ycc) else ycc])
            case marker if marker in FRAMES and len(content) >= 6:
                is_sequential, n_components = marker in _SEQUENTIAL, content[5]
            case marker if marker == _SOS:
                scan_data = segment.end
                if is_sequential:
                    content = content[:-3] + b"\0\x3f\0"
            case marker if marker not in _TABLES:
                continue
        parts.append(bytes([0xFF, segment.marker]) + struct.pack(">H", 2 + len(content)) + content)
    if scan_data is not None:
        parts.append(data[scan_data:])
    return b"".join(parts)
