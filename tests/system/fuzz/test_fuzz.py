"""A short fuzz run and properties of intact photos. `make fuzz` is the long run."""

from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.support.photo_files import MAKERS
from tests.system.fuzz.guarantees import ViolationError, outcome_of
from tests.system.fuzz.inputs import damaged_file
from tests.system.fuzz.run import run
from triage.errors import AttachmentError
from triage.imaging.decode import Decoder
from triage.imaging.limits import ImageLimits

pytestmark = pytest.mark.long

INPUTS = 600
LIMITS = ImageLimits(min_side=16)


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    with Decoder(LIMITS) as decoder:
        yield decoder


def test_damaged_photos_violate_no_guarantee() -> None:
    for found in run(0, INPUTS):
        assert found.broken == {}

    codes = sum(found.outcomes.values(), Counter())
    assert codes.total() == INPUTS
    assert min(codes["decoded"], codes["corrupt"], codes["truncated"]) > 0


def test_damaged_photo_is_the_same_when_it_is_made_again() -> None:
    assert [damaged_file(number) for number in range(20)] == [damaged_file(number) for number in range(20)]


@given(st.binary(max_size=200), st.sampled_from(sorted(MAKERS)), st.integers(0, 150))
@settings(max_examples=150)
def test_any_bytes_get_a_photo_or_a_code(decoder: Decoder, tail: bytes, name: str, kept: int) -> None:
    """The beginning of a real file followed by random bytes."""
    data = MAKERS[name](Image.new("RGB", (20, 20)))[:kept] + tail

    assert outcome_of(decoder, LIMITS, data)


@given(st.integers(16, 90), st.integers(16, 90), st.sampled_from(["png", "webp-lossless", "tiff", "bmp", "dicom"]))
@settings(max_examples=60)
def test_lossless_photo_of_any_size_is_exact(decoder: Decoder, width: int, height: int, name: str) -> None:
    pixels = np.random.default_rng(width * height).integers(0, 256, (height, width, 3), np.uint8)

    assert np.array_equal(decoder.decode(MAKERS[name](Image.fromarray(pixels))).upright, pixels)


def test_violated_guarantee_is_detected() -> None:
    """Tests the check itself: a decoder that raises an error without a code violates a guarantee."""

    class Careless(Decoder):
        def decode(self, data: bytes) -> object:  # type: ignore[override]
            raise AttachmentError("two\nlines") if data else KeyError(data)  # type: ignore[call-arg, arg-type]

    for data in (b"", b"x"):
        with pytest.raises(ViolationError):
            outcome_of(Careless(), LIMITS, data)
