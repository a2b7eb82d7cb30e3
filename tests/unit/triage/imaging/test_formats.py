import pytest

from tests.support.photo_files import MAKERS
from triage.imaging.formats import MediaType, normalise_declared, sniff
from triage.samples.drawing import draw_skin_photo


@pytest.mark.parametrize("name", MAKERS)
def test_format_is_detected_from_the_first_bytes(name: str) -> None:
    data = MAKERS[name](draw_skin_photo(1, size=(96, 96)))

    assert sniff(data[:512]) is MediaType[name.partition("-")[0].upper()]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xd8",
        b"BMW is a car, no photo",
        b"%PDF-1.7",
        b"\0\0\0\x18ftypmp42\0\0\0\0isommp42",
        b"RIFF\0\0\0\0WAVE",
    ],
    ids=["empty", "two-bytes", "text", "pdf", "mp4", "wave"],
)
def test_other_bytes_have_no_media_type(data: bytes) -> None:
    assert sniff(data) is None


@pytest.mark.parametrize(
    ("declared", "normal"),
    [
        ("image/jpeg", "image/jpeg"),
        (" Image/JPEG; charset=binary", "image/jpeg"),
        ("application/dicom+json", "application/dicom+json"),
        (None, None),
        ("", None),
        ("jpeg", None),
        ("image/", None),
        ("Jane Doe, born 1980", None),
        ("image/" + "x" * 64, None),
    ],
)
def test_declared_type_is_normalised_or_dropped(declared: str | None, normal: str | None) -> None:
    assert normalise_declared(declared) == normal
