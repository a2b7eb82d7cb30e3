import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from triage.findings.traces import describe_traces
from triage.samples.drawing import SkinTone, draw_skin_photo


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    return draw_skin_photo(5, tone=SkinTone.III, size=(600, 700))


def _compressed(photo: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    photo.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


def _traces(photo: Image.Image) -> dict[str, float]:
    return describe_traces(np.asarray(photo))


@pytest.mark.parametrize("share", [0.7, 0.55, 0.3])
def test_enlargement_is_measured_when_a_small_photo_was_enlarged_and_not_when_it_was_blurred(
    photo: Image.Image, share: float
) -> None:
    width, height = (round(side * share) for side in photo.size)
    small = photo.resize((width, height), Image.Resampling.BOX)
    enlarged = _compressed(small.resize(photo.size, Image.Resampling.BICUBIC), 90)
    blurred = _compressed(photo.filter(ImageFilter.GaussianBlur(0.5 / share)), 90)

    assert _traces(enlarged)["enlarged"] > _traces(blurred)["enlarged"] + 1
    assert _traces(enlarged)["enlarged"] > _traces(_compressed(photo, 90))["enlarged"] + 1
    assert _traces(enlarged)["is_enlarged"] == 1


@pytest.mark.parametrize("corner", [(0, 0), (3, 5)])
@pytest.mark.parametrize("turned", [False, True])
def test_blocks_are_measured_at_any_phase_when_a_photo_is_compressed_strongly(
    photo: Image.Image, corner: tuple[int, int], turned: bool
) -> None:
    cut = _compressed(photo, 12).crop((*corner, 590, 690))
    found = _traces(cut.transpose(Image.Transpose.ROTATE_90) if turned else cut)

    assert found["blocks"] > _traces(_compressed(photo, 90))["blocks"] + 0.3
    assert (found["has_blocks"], _traces(photo)["has_blocks"]) == (1, 0)


@pytest.mark.parametrize("pixels", [np.zeros((31, 900, 3), np.uint8), np.full((64, 64, 3), 7, np.uint8)])
def test_measures_are_zero_when_a_photo_is_tiny_or_uniform(pixels: NDArray[np.uint8]) -> None:
    assert describe_traces(pixels) == {"enlarged": 0.0, "blocks": 0.0, "is_enlarged": 0.0, "has_blocks": 0.0}


def test_measures_are_equal_when_pixels_are_a_view(photo: Image.Image) -> None:
    pixels = np.asarray(photo)
    planes = np.ascontiguousarray(pixels.transpose(2, 0, 1)).transpose(1, 2, 0)

    assert describe_traces(planes) == describe_traces(pixels)
