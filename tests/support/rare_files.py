"""Photos as files that cameras, scanners and damaged transfers make and encoders of Pillow do not."""

import base64
import struct
import zlib
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.support.photo_files import encode
from triage.imaging.profiles import BT709, BT2020, to_xyz

Array = NDArray[Any]
WHITE_NITS: Final = 203.0
_TYPES: Final = {"H": 3, "I": 4, "Q": 16, "B": 7}


@dataclass(frozen=True)
class Page:
    """A directory of a TIFF file.

    Attributes:
        pixels: (H, W) or (H, W, channels), uint8 or uint16.
        tags: other tags; a value is a number or bytes.
        children: directories in SubIFDs.
        tile: side of square tiles, None for one strip.
    """

    pixels: Array
    tags: dict[int, int | bytes]
    children: tuple["Page", ...] = ()
    is_planar: bool = False
    tile: int | None = None
    is_packed: bool = False


def tiff(*pages: Page, order: Literal["<", ">"] = "<", is_big: bool = False) -> bytes:
    """A TIFF file; a BigTIFF if `is_big`."""
    code = "Q" if is_big else "I"
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "H", 43 if is_big else 42)
    file = bytearray(head + (struct.pack(order + "HH", 8, 0) if is_big else b""))
    link = len(file)
    file += bytes(struct.calcsize(code))
    for page in pages:
        start, next_link = _write_page(file, page, order, code)
        struct.pack_into(order + code, file, link, start)
        link = next_link
    return bytes(file)


def _write_page(file: bytearray, page: Page, order: Literal["<", ">"], code: str) -> tuple[int, int]:
    children = [_write_page(file, child, order, code)[0] for child in page.children]
    height, width = page.pixels.shape[:2]
    channels = page.pixels.shape[2] if page.pixels.ndim == 3 else 1
    bits = 8 * page.pixels.dtype.itemsize
    values: dict[int, tuple[str, list[int] | bytes]] = {
        256: ("I", [width]),
        257: ("I", [height]),
        258: ("H", [bits] * channels),
        259: ("H", [8 if page.is_packed else 1]),
        262: ("H", [2 if channels > 1 else 1]),
        277: ("H", [channels]),
        284: ("H", [2 if page.is_planar else 1]),
    }
    parts = []
    for part in _parts(page):
        raw = np.ascontiguousarray(part, part.dtype.newbyteorder(order)).tobytes()
        parts.append(zlib.compress(raw) if page.is_packed else raw)
    offsets = []
    for raw in parts:
        file += bytes(len(file) % 2)
        offsets.append(len(file))
        file += raw
    if page.tile:
        values |= {322: ("I", [page.tile]), 323: ("I", [page.tile])}
    else:
        values[278] = ("I", [height])
    values |= {324 if page.tile else 273: (code, offsets), 325 if page.tile else 279: (code, list(map(len, parts)))}
    if children:
        values[330] = (code, children)
    for tag, value in page.tags.items():
        values[tag] = ("B", value) if isinstance(value, bytes) else ("I" if value > 65535 else "H", [value])
    return _write_directory(file, values, order, code)


def _parts(page: Page) -> list[Array]:
    planes = list(np.moveaxis(page.pixels, 2, 0)) if page.is_planar else [page.pixels]
    if not page.tile:
        return planes
    side, parts = page.tile, []
    for plane in planes:
        height, width = plane.shape[:2]
        padding = [(0, -height % side), (0, -width % side)] + [(0, 0)] * (plane.ndim - 2)
        padded = np.pad(plane, padding)
        parts += [
            padded[y : y + side, x : x + side]
            for y in range(0, padded.shape[0], side)
            for x in range(0, padded.shape[1], side)
        ]
    return parts


def _write_directory(
    file: bytearray, values: dict[int, tuple[str, list[int] | bytes]], order: str, code: str
) -> tuple[int, int]:
    entries = b""
    inline = struct.calcsize(code)
    for tag, (kind, value) in sorted(values.items()):
        raw = value if isinstance(value, bytes) else struct.pack(f"{order}{len(value)}{kind}", *value)
        count = len(value)
        if len(raw) > inline:
            file += bytes(len(file) % 2)
            place = len(file)
            file += raw
            raw = struct.pack(order + code, place)
        entries += struct.pack(order + "HH" + code, tag, _TYPES[kind], count) + raw.ljust(inline, b"\0")
    file += bytes(len(file) % 2)
    start = len(file)
    file += struct.pack(order + ("Q" if code == "Q" else "H"), len(values)) + entries
    link = len(file)
    file += bytes(inline)
    return start, link


def bmp(
    image: Image.Image, masks: tuple[int, ...], *, bits: int = 32, compression: int = 3, header: int = 124
) -> bytes:
    """A BMP whose pixels are packed by bit masks: red, green, blue, alpha. The alpha of RGB images is 0."""
    channels = [np.asarray(channel) for channel in image.split()]
    height, width = channels[0].shape
    packed = np.zeros((height, width), np.uint32)
    for channel, mask in zip(channels, masks, strict=False):
        shift = (mask & -mask).bit_length() - 1
        top = mask >> shift
        packed |= (np.round(channel * (top / 255)).astype(np.uint32) << shift).astype(np.uint32)
    rows = packed.astype("<u4" if bits == 32 else "<u2")[::-1]
    row_bytes = (width * bits + 31) // 32 * 4
    data = b"".join(row.tobytes().ljust(row_bytes, b"\0") for row in rows)
    facts = struct.pack("<IiiHHIIiiII", header, width, height, 1, bits, compression, len(data), 2835, 2835, 0, 0)
    mask_bytes = struct.pack(f"<{len(masks)}I", *masks)
    beyond = mask_bytes if header == 40 else mask_bytes.ljust(header - 40, b"\0")
    offset = 14 + len(facts) + len(beyond)
    return struct.pack("<2sIHHI", b"BM", offset + len(data), 0, 0, offset) + facts + beyond + data


def chunk(name: bytes, content: bytes, *, is_sound: bool = True) -> bytes:
    """A PNG chunk, with a wrong checksum if it is not sound."""
    checksum = zlib.crc32(name + content) ^ (not is_sound)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)


def with_chunks(png: bytes, *chunks: bytes) -> bytes:
    """The PNG with chunks behind its header."""
    return png[:33] + b"".join(chunks) + png[33:]


def scan_data(jpeg: bytes, number: int = 0) -> int:
    """Where the entropy-coded data of a scan starts."""
    place = -1
    for _ in range(number + 1):
        place = jpeg.index(b"\xff\xda", place + 1)
    return place + 2 + int.from_bytes(jpeg[place + 2 : place + 4])


def with_code_points(file: bytes, primaries: int, transfer: int) -> bytes:
    """A HEIC or AVIF file whose colour box states other code points."""
    place = file.index(b"colrnclx") + 8
    return file[:place] + struct.pack(">HH", primaries, transfer) + file[place + 4 :]


def as_pq(image: Image.Image) -> Image.Image:
    """The picture coded as BT.2100 PQ: the white of sRGB at 203 cd/m2. The inverse of BT.2100-2, table 4."""
    power = (_light_2020(image) * (WHITE_NITS / 10_000)) ** (2610 / 16384)
    coded = ((3424 / 4096 + 2413 / 128 * power) / (1 + 2392 / 128 * power)) ** (2523 / 32)
    return _levels(coded)


def as_hlg(image: Image.Image) -> Image.Image:
    """The picture coded as BT.2100 HLG for a display of 1000 cd/m2. The inverse of BT.2100-2, table 5."""
    shown = _light_2020(image) * (WHITE_NITS / 1000)
    luminance = shown @ np.array([0.2627, 0.6780, 0.0593])
    scene = shown * (np.maximum(luminance, 1e-9) ** (1 / 1.2 - 1))[..., None]
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return _levels(np.where(scene <= 1 / 12, np.sqrt(3 * scene), a * np.log(np.maximum(12 * scene - b, 1e-9)) + c))


def as_linear(image: Image.Image) -> Image.Image:
    """The picture with levels in proportion to light."""
    return _levels(_light(image))


def in_adobe_rgb(image: Image.Image) -> Image.Image:
    """The picture with the levels of Adobe RGB (1998). Source: its specification, 4.3.5.2."""
    from_xyz = np.array([[2.04159, -0.56501, -0.34473], [-0.96924, 1.87597, 0.04156], [0.01344, -0.11836, 1.01517]])
    light = _light(image) @ (from_xyz @ to_xyz(BT709)).T
    return _levels(light.clip(0, 1) ** (256 / 563))


def _light(image: Image.Image) -> Array:
    level = np.asarray(image, float) / 255
    return np.where(level <= 0.04045, level / 12.92, ((level + 0.055) / 1.055) ** 2.4)


def _light_2020(image: Image.Image) -> Array:
    light: Array = (_light(image) @ np.linalg.solve(to_xyz(BT2020), to_xyz(BT709)).T).clip(0)
    return light


def _levels(coded: Array) -> Image.Image:
    return Image.fromarray((coded.clip(0, 1) * 255 + 0.5).astype(np.uint8))


def preview_first(image: Image.Image, *, order: Literal["<", ">"] = "<", is_big: bool = False) -> bytes:
    """A TIFF laid out like a DNG: a preview with the picture in SubIFDs."""
    preview = Page(np.asarray(image.resize((80, 60))), {254: 1}, (Page(np.asarray(image), {254: 0}),))
    return tiff(preview, order=order, is_big=is_big)


def rare_files(image: Image.Image) -> dict[str, bytes]:
    """The photo in rare variants of the formats."""
    deep = np.asarray(image).astype(np.uint16) * 257
    return {
        "tiff-preview": preview_first(image),
        "tiff-big": tiff(Page(np.asarray(image), {}, tile=64, is_packed=True), order=">", is_big=True),
        "tiff-planes": tiff(Page(deep, {}, is_planar=True), order=">"),
        "bmp-masks": bmp(image, (0xF800, 0x7E0, 0x1F), bits=16, header=40),
        "bmp-alpha": bmp(image, (0xFF0000, 0xFF00, 0xFF, 0xFF000000)),
        "avif-pq": with_code_points(encode(as_pq(image), "AVIF", quality=95), 9, 16),
        "heic-hlg": with_code_points(encode(as_hlg(image), "HEIF", quality=95), 9, 18),
        "png-pq": with_chunks(encode(as_pq(image), "PNG"), chunk(b"cICP", bytes([9, 16, 0, 1]))),
        "jpeg-restarts": encode(image, "JPEG", quality=95, restart_marker_rows=1),
    }


def gradient() -> Image.Image:
    """The picture of `ARITHMETIC`."""
    y, x = np.mgrid[:64, :64]
    return Image.fromarray(np.stack([4 * x, 4 * y, (255 - 2 * (x + y)).clip(0)], axis=-1).astype(np.uint8))


ARITHMETIC: Final = {
    "sequential": base64.b64decode(
        "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAYEBQYFBAYGBQYHBwYIChAKCgkJChQODwwQFxQYGBcUFhYaHSUfGhsjHBYWICwgIyYnKSopGR8tMC"
        "0oMCUoKSj/2wBDAQcHBwoIChMKChMoGhYaKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCj/yQARCABA"
        "AEADASIAAhEBAxEB/8wACgAQEAUBEBEF/9oADAMBAAIRAxEAPwD/AM3iEtDFI5W8wNi2GYEvhY8pTtqXIREKYvsgjWO0Tgl59F8Gbdx1Qav6ui"
        "BzErl/CjKEDqzbd/BRKa3KuzFaHvg0e1ZUO6NE1iMs0iEUZJHfPbe+h/m3YGlgY/kFjYZoEiG71sDPugGEUjPk9WgjdsRUfozMBJyWSp9L0d0T"
        "w9STbPI8mF91Sglj0bdZGwXwsyy9iEh1V/1+ynpKc+dZvxMNgMVzxjbH+I7ksALDN156TfW/K6J6ogpjqIGGd1wXqED/2Q=="
    ),
    "progressive": base64.b64decode(
        "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAYEBQYFBAYGBQYHBwYIChAKCgkJChQODwwQFxQYGBcUFhYaHSUfGhsjHBYWICwgIyYnKSopGR8tMC"
        "0oMCUoKSj/2wBDAQcHBwoIChMKChMoGhYaKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCj/ygARCABA"
        "AEADASIAAhEBAxEB/8wABgAQARD/2gAMAwEAAhADEAAAAf8AnBI1bsbJl4dnE+BpulSgyT9ENBX7o9eQtwQotYUzftfsM16Czo9ExAwFhrNBlM"
        "QaJ75bdzHgj2hnIDU4+P/MAAQQBf/aAAgBAQABBQITMswhgsFqGQVfVvTSne1JDLafCsBa5z7WOfaxz7WTTTTTTTTTTTTTTTOfa4D/zAAEEQX/"
        "2gAIAQMBAT8BFCvmOrAPobLbQQ4Fepgg/8wABBEF/9oACAECAQE/AUN2m8EPuN462GHgrb7778D/zAAEEAX/2gAIAQEABj8CqP/MAAQQBf/aAA"
        "gBAQABPyF5cla5M2yw/9oADAMBAAIAAwAAABAbSdsFO3q+ROEGV5//zAAEEQX/2gAIAQMBAT8QqIpH94dg/8wABBEF/9oACAECAQE/ELyA/8wA"
        "BBAF/9oACAEBAAE/EExjvAcy+VjcSAfsvxViJsqHCGlOOlnAzP/Z"
    ),
}
"""JPEGs with arithmetic coding, which no library of the tests writes: by cjpeg of libjpeg-turbo."""
