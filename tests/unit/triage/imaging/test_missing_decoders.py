"""An image without the decoder of a format, as `WITHOUT` of the Dockerfile builds it."""

import subprocess
import sys

import pytest

from tests.support.photo_files import MAKERS
from triage.errors import ErrorCode
from triage.samples.drawing import draw_skin_photo

PHOTO = draw_skin_photo(9, size=(150, 200))
DECODE = """
import sys
sys.modules["pillow_heif"] = sys.modules["pillow_jxl"] = None  # importing them raises ImportError
from triage.errors import AttachmentError
from triage.imaging.formats import sniff
from triage.imaging.limits import ImageLimits
from triage.imaging.raster import decode_raster
data = sys.stdin.buffer.read()
try:
    print(decode_raster(data, sniff(data), ImageLimits()).pixels.shape)
except AttachmentError as error:
    print(error.code)
"""


def _decode(data: bytes) -> str:
    done = subprocess.run([sys.executable, "-c", DECODE], input=data, capture_output=True, check=True)
    return done.stdout.decode().strip()


@pytest.mark.parametrize("kind", ["heic", "jxl"])
def test_photo_is_an_unsupported_variant_when_its_decoder_is_not_installed(kind: str) -> None:
    assert _decode(MAKERS[kind](PHOTO)) == ErrorCode.UNSUPPORTED_VARIANT


def test_other_formats_are_decoded_when_two_decoders_are_not_installed() -> None:
    assert _decode(MAKERS["avif"](PHOTO)) == "(150, 200, 3)"
