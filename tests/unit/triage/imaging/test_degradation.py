import numpy as np
import pytest
from PIL import Image, ImageFilter

from triage.imaging.degradation import Degradation, degrade
from triage.samples.drawing import draw_skin_photo

SIZE = (300, 400)


def _sharpness(photo: Image.Image) -> float:
    """Variance of the Laplacian, away from the border."""
    kernel = ImageFilter.Kernel((3, 3), [0, 1, 0, 1, -4, 1, 0, 1, 0], scale=1, offset=128)
    return float(np.asarray(photo.convert("L").filter(kernel), float)[2:-2, 2:-2].var())


def _brightness(photo: Image.Image) -> float:
    return float(np.asarray(photo.convert("L"), float).mean())


@pytest.mark.parametrize("degradation", Degradation)
def test_photo_is_further_from_the_original_when_the_degradation_is_stronger(degradation: Degradation) -> None:
    photo = draw_skin_photo(1, size=SIZE)
    original = np.asarray(photo, float)

    weak, strong = (np.asarray(degrade(photo, degradation, strength), float) for strength in (0.2, 0.9))

    assert 0 < np.abs(weak - original).mean() < np.abs(strong - original).mean()


def test_each_degradation_has_its_named_effect() -> None:
    photo = draw_skin_photo(1, size=SIZE)

    def spoiled(degradation: Degradation) -> Image.Image:
        return degrade(photo, degradation, 0.8)

    for blurs in (Degradation.DEFOCUS, Degradation.MOTION, Degradation.LOW_RESOLUTION):
        assert _sharpness(spoiled(blurs)) < 0.5 * _sharpness(photo)
    assert _sharpness(spoiled(Degradation.NOISE)) > 2 * _sharpness(photo)
    assert _brightness(spoiled(Degradation.DARK)) < 0.5 * _brightness(photo)
    assert _brightness(spoiled(Degradation.OVEREXPOSED)) > 1.2 * _brightness(photo)


@pytest.mark.parametrize("strength", [0, -1, 1.01])
def test_strength_outside_its_range_is_refused(strength: float) -> None:
    with pytest.raises(ValueError, match="strength"):
        degrade(draw_skin_photo(1, size=SIZE), Degradation.DARK, strength)
