"""Photos with a patient's name in every place for metadata that their formats have."""

import io
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import numpy as np
from PIL import ExifTags, Image, TiffImagePlugin
from PIL.PngImagePlugin import PngInfo
from pydicom import Dataset, dcmread

from tests.support.photo_files import dicom, encode

PATIENT: Final = "Mustermann-Erika-1970"
_XMP: Final = f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><dc:creator>{PATIENT}</dc:creator></x:xmpmeta>'.encode()


def exif() -> bytes:
    """Texts, a place on earth, and a maker's note."""
    exif = Image.Exif()
    for tag in (ExifTags.Base.ImageDescription, ExifTags.Base.Artist, ExifTags.Base.Copyright, ExifTags.Base.Software):
        exif[tag] = PATIENT
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment] = b"ASCII\0\0\0" + PATIENT.encode()
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.MakerNote] = PATIENT.encode()
    exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSAreaInformation] = PATIENT.encode()
    return exif.tobytes()


def _jpeg(image: Image.Image) -> bytes:
    return encode(image, "JPEG", exif=exif(), comment=PATIENT.encode(), xmp=_XMP)


def _png(image: Image.Image) -> bytes:
    texts = PngInfo()
    texts.add_text("Author", PATIENT)
    texts.add_text("Comment", PATIENT, zip=True)
    texts.add_itxt("XML:com.adobe.xmp", _XMP.decode())
    return encode(image, "PNG", pnginfo=texts, exif=exif())


def _tiff(image: Image.Image) -> bytes:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[270] = tags[315] = PATIENT
    tags[700] = _XMP
    return encode(image, "TIFF", tiffinfo=tags)


def _dicom(image: Image.Image) -> bytes:
    whole = dicom(
        np.asarray(image),
        PatientName=PATIENT,
        PatientID=PATIENT,
        AccessionNumber=PATIENT[:16],
        ReferringPhysicianName=PATIENT,
        InstitutionName=PATIENT,
        ImageComments=PATIENT,
        StudyDescription=PATIENT,
    )
    dataset = dcmread(io.BytesIO(whole))
    dataset.private_block(0x0011, PATIENT, create=True).add_new(1, "LO", PATIENT)
    item = Dataset()
    item.PatientName = PATIENT
    dataset.ReferencedPatientSequence = [item]
    file = io.BytesIO()
    dataset.save_as(file)
    return file.getvalue()


PLANTED: Final[Mapping[str, Callable[[Image.Image], bytes]]] = MappingProxyType(
    {
        "jpeg": _jpeg,
        "png": _png,
        "webp": lambda image: encode(image, "WEBP", exif=exif(), xmp=_XMP),
        "heic": lambda image: encode(image, "HEIF", exif=exif(), xmp=_XMP),
        "avif": lambda image: encode(image, "AVIF", exif=exif(), xmp=_XMP),
        "tiff": _tiff,
        "gif": lambda image: encode(image, "GIF", comment=PATIENT.encode()),
        "dicom": _dicom,
    }
)
"""A maker for each format that has metadata."""


def damaged(data: bytes) -> bytes:
    """The file, overwritten from behind its metadata on."""
    start = data.rindex(PATIENT.encode()) + len(PATIENT) if PATIENT.encode() in data else len(data) // 2
    return data[:start] + b"\xaa" * 400
