"""A photo as DICOM files that cameras, archives and converters write and pydicom does not."""

import io
import tempfile
from pathlib import Path
from typing import Any, Final

import gdcm  # type: ignore[import-untyped]
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.datadict import tag_for_keyword
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
)

from tests.support.photo_files import dicom, encode

Array = NDArray[Any]
NATIVE: Final = {
    "implicit": ImplicitVRLittleEndian,
    "explicit": ExplicitVRLittleEndian,
    "big endian": ExplicitVRBigEndian,
    "deflated": DeflatedExplicitVRLittleEndian,
}
CODECS: Final = {
    "RLE": gdcm.TransferSyntax.RLELossless,
    "JPEG lossless": gdcm.TransferSyntax.JPEGLosslessProcess14,
    "JPEG lossless SV1": gdcm.TransferSyntax.JPEGLosslessProcess14_1,
    "JPEG-LS": gdcm.TransferSyntax.JPEGLSLossless,
    "JPEG 2000": gdcm.TransferSyntax.JPEG2000Lossless,
}
_HEAD_BYTES: Final = 132


def edited(file: bytes, *, without: tuple[str, ...] = (), syntax: UID | None = None, **elements: Any) -> bytes:
    """The file without some elements and with others, in another native transfer syntax if one is given."""
    dataset = dcmread(io.BytesIO(file))
    if syntax is ExplicitVRBigEndian and dataset.get("BitsAllocated") == 16:
        dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
    for keyword in without:
        if keyword in dataset:
            del dataset[keyword]
    _set(dataset, elements)
    if syntax is not None:
        dataset.file_meta.TransferSyntaxUID = syntax
    return _written(dataset)


def _written(dataset: Dataset) -> bytes:
    target = io.BytesIO()
    dcmwrite(target, dataset, enforce_file_format=True)
    return target.getvalue()


def bare(file: bytes, *, with_meta: bool = False) -> bytes:
    """The data set without preamble, and without file meta information unless asked for."""
    if with_meta:
        return file[_HEAD_BYTES:]
    length = int.from_bytes(file[_HEAD_BYTES + 8 : _HEAD_BYTES + 12], "little")
    return file[_HEAD_BYTES + 12 + length :]


def coded(file: bytes, codec: int) -> bytes:
    """The file with its pixels in a compressed transfer syntax, by GDCM."""
    dataset = dcmread(io.BytesIO(file))
    names = [element.keyword for element in dataset if element.tag.group == 0x28 and element.tag.element >= 0x1000]
    label = "MONOCHROME2" if dataset.SamplesPerPixel == 1 else "RGB"
    plain = edited(file, without=tuple(names), PhotometricInterpretation=label)  # GDCM aborts on some palettes
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "source"), Path(folder, "target")
        source.write_bytes(plain)
        reader = gdcm.ImageReader()
        reader.SetFileName(str(source))
        assert reader.Read()
        change = gdcm.ImageChangeTransferSyntax()
        change.SetTransferSyntax(gdcm.TransferSyntax(codec))
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer = gdcm.ImageWriter()
        writer.SetFileName(str(target))
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        assert writer.Write()
        compressed = dcmread(target)
    dataset.file_meta.TransferSyntaxUID = compressed.file_meta.TransferSyntaxUID
    dataset.add_new(0x7FE00010, "OB", compressed.PixelData)
    dataset["PixelData"].is_undefined_length = True
    return _written(dataset)


def item(**elements: Any) -> Sequence:
    """A sequence of one item."""
    dataset = Dataset()
    _set(dataset, elements)
    return Sequence([dataset])


def _set(dataset: Dataset, elements: dict[str, Any]) -> None:
    """Sets elements by keyword; a pair is a VR and a value."""
    for keyword, value in elements.items():
        if isinstance(value, tuple):
            dataset.add_new(tag_for_keyword(keyword) or 0, *value)
        else:
            setattr(dataset, keyword, value)


def grey_photo(photo: Image.Image) -> Array:
    """(H, W), uint8."""
    return np.asarray(photo.convert("L"))


def deep(grey: Array, bits: int) -> Array:
    """Grey of 8 bits scaled to `bits`."""
    return np.round(grey * (((1 << bits) - 1) / 255)).astype(np.uint16)


def jpeg_in_dicom(photo: Image.Image, jpeg: bytes, *, photometric: str = "RGB", **elements: Any) -> bytes:
    return dicom(
        np.asarray(photo),
        photometric=photometric,
        transfer_syntax=JPEGBaseline8Bit,
        encapsulated=[jpeg],
        **elements,
    )


def without_segments(jpeg: bytes, *markers: int) -> bytes:
    """The JPEG without the segments of these markers, all of which precede its first scan."""
    parts, position = [jpeg[:2]], 2
    while (marker := jpeg[position + 1]) != 0xDA:
        end = position + 2 + int.from_bytes(jpeg[position + 2 : position + 4])
        parts += [jpeg[position:end]] if marker not in markers else []
        position = end
    return b"".join(parts) + jpeg[position:]


def with_component_ids(jpeg: bytes, ids: bytes) -> bytes:
    """The baseline JPEG with other ids in its frame and scan headers."""
    data = bytearray(jpeg)
    frame, scan = data.index(b"\xff\xc0"), data.index(b"\xff\xda")
    for number, each in enumerate(ids):
        data[frame + 10 + 3 * number] = each
        data[scan + 5 + 2 * number] = each
    return bytes(data)


def palette_elements(palette: Array, *, bits: int, first: int = 0, packing: str) -> dict[str, Any]:
    """Elements of a palette (N, 3), uint8.

    Args:
        packing: `bytes`; or `low`, `high` or `both`: which bytes of words hold an entry.
    """
    scale = {"low": 1, "high": 256, "both": 257}
    elements: dict[str, Any] = {}
    for channel, colour in enumerate(("Red", "Green", "Blue")):
        entries = palette[:, channel]
        data = entries.astype(np.uint8) if packing == "bytes" else (entries.astype(np.uint16) * scale[packing])
        elements[f"{colour}PaletteColorLookupTableDescriptor"] = [len(palette) % 65536, first, bits]
        elements[f"{colour}PaletteColorLookupTableData"] = data.tobytes()
    return elements


def rare_dicoms(photo: Image.Image) -> dict[str, bytes]:
    """The photo in rare variants of DICOM."""
    rgb, grey = np.asarray(photo), grey_photo(photo)
    indexed = photo.quantize(256, dither=Image.Dither.NONE)
    palette = np.array(indexed.getpalette(), np.uint8).reshape(-1, 3)
    colour = dicom(rgb)
    twelve = dicom(deep(grey, 12), photometric="MONOCHROME2", bits_stored=12)
    ramp = np.repeat(np.arange(256, dtype=np.uint8), 16)
    frames = np.stack([rgb, rgb[::-1], rgb])
    return {
        "dicom-bare": bare(edited(colour, syntax=ImplicitVRLittleEndian)),
        "dicom-big": edited(twelve, syntax=ExplicitVRBigEndian),
        "dicom-deflated": edited(colour, syntax=DeflatedExplicitVRLittleEndian),
        "dicom-window": edited(twelve, WindowCenter=["2048", "100"], WindowWidth=["4096", "0"]),
        "dicom-sigmoid": edited(twelve, WindowCenter=2048, WindowWidth=2000, VOILUTFunction="SIGMOID"),
        "dicom-lut": edited(twelve, VOILUTSequence=item(LUTDescriptor=[4096, 0, 8], LUTData=ramp.tobytes())),
        "dicom-palette": dicom(
            np.asarray(indexed),
            photometric="PALETTE COLOR",
            **palette_elements(palette, bits=16, packing="low"),
        ),
        "dicom-frames": dicom(frames, n_frames=3),
        "dicom-jpeg-frames": dicom(
            frames,
            n_frames=3,
            photometric="YBR_FULL_422",
            transfer_syntax=JPEGBaseline8Bit,
            encapsulated=[encode(Image.fromarray(frame), "JPEG") for frame in frames],
        ),
        "dicom-rle-16": dicom(deep(grey, 16), photometric="MONOCHROME1", transfer_syntax=RLELossless),
        "dicom-lossless": coded(twelve, CODECS["JPEG lossless"]),
        "dicom-jpegls": coded(colour, CODECS["JPEG-LS"]),
        "dicom-j2k-12": coded(twelve, CODECS["JPEG 2000"]),
        "dicom-j2k-grey": dicom(
            grey,
            photometric="MONOCHROME2",
            transfer_syntax=JPEG2000Lossless,
            encapsulated=[encode(photo.convert("L"), "JPEG2000", irreversible=False, no_jp2=True)],
        ),
    }
