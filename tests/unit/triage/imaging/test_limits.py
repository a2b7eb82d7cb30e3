"""Photos that take more memory than their decoder process has, in every format."""

from collections.abc import Callable, Iterator, Mapping

import pytest
from PIL import Image

from tests.support.decoder import code_of
from tests.support.large_files import LARGE
from tests.support.photo_files import encode
from triage.errors import AttachmentError, ErrorCode
from triage.imaging.decode import Decoder
from triage.imaging.decoder_pool import IsolatedDecoders
from triage.imaging.limits import ImageLimits

PHOTO = Image.new("RGB", (3200, 3200), (190, 140, 120))
SMALL = PHOTO.resize((200, 200))
FORMATS: Mapping[str, Callable[[Image.Image], bytes]] = {
    **{name: make for name, make in LARGE.items() if name != "tiff-deflate"},
    "tiff-lzw": lambda image: encode(image, "TIFF", compression="tiff_lzw"),
    "jpeg-progressive": lambda image: encode(image, "JPEG", progressive=True, subsampling=0),
    "png": lambda image: encode(image, "PNG", compress_level=1),
}
LITTLE = ImageLimits(decode_memory_bytes=320 * 2**20)  # of which Python and the libraries take 250 MB


@pytest.fixture(scope="module")
def decoders() -> Iterator[IsolatedDecoders]:
    decoders = IsolatedDecoders(LITTLE, processes=1)
    for encoded in FORMATS.values():  # loads the libraries of all formats, which leaves each photo the same memory
        decoders.decode(encoded(SMALL))
    yield decoders
    decoders.close()


@pytest.mark.parametrize("name", FORMATS)
def test_photo_is_too_much_for_little_memory(decoders: IsolatedDecoders, name: str) -> None:
    data = FORMATS[name](PHOTO)

    with pytest.raises(AttachmentError) as raised:
        decoders.decode(data)

    assert raised.value.code is ErrorCode.TOO_MUCH_MEMORY
    assert decoders.decode(FORMATS[name](SMALL)).size == (200, 200)
    with Decoder() as enough:
        assert enough.decode(data, apart=True).size == PHOTO.size


def test_damaged_photo_is_corrupt_when_there_is_memory_for_it(decoders: IsolatedDecoders) -> None:
    data = LARGE["webp"](SMALL)

    with pytest.raises(AttachmentError) as raised:
        decoders.decode(data[:60] + bytes(len(data) - 60))

    assert raised.value.code is ErrorCode.CORRUPT


def test_size_of_a_webp_is_checked_before_it_is_opened() -> None:
    data = bytearray(LARGE["webp"](SMALL))
    data[26:30] = b"\xff\x3f\xff\x3f"  # 16383 x 16383

    with Decoder() as decoder:
        assert code_of(decoder, bytes(data)) is ErrorCode.TOO_MANY_PIXELS
