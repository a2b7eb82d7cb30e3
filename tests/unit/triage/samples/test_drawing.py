import numpy as np
import pytest
from PIL import Image, ImageFilter

from triage.samples.drawing import Degradation, SkinTone, degrade, draw_sample_messages, draw_skin_photo

SIZE = (300, 400)


def _sharpness(photo: Image.Image) -> float:
    """Variance of the Laplacian, away from the border."""
    kernel = ImageFilter.Kernel((3, 3), [0, 1, 0, 1, -4, 1, 0, 1, 0], scale=1, offset=128)
    return float(np.asarray(photo.convert("L").filter(kernel), float)[2:-2, 2:-2].var())


def _brightness(photo: Image.Image) -> float:
    return float(np.asarray(photo.convert("L"), float).mean())


def test_photo_is_reproducible_when_the_seed_is_equal() -> None:
    assert draw_skin_photo(1, size=SIZE).tobytes() == draw_skin_photo(1, size=SIZE).tobytes()
    assert draw_skin_photo(1, size=SIZE).tobytes() != draw_skin_photo(2, size=SIZE).tobytes()


def test_photo_has_the_requested_size_and_tone() -> None:
    photos = [draw_skin_photo(1, tone=tone, size=SIZE) for tone in SkinTone]

    assert {photo.size for photo in photos} == {(400, 300)}
    brightness = [_brightness(photo) for photo in photos]
    assert brightness == sorted(brightness, reverse=True)


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


def test_sample_messages_contain_sharp_and_degraded_photos() -> None:
    messages = draw_sample_messages()

    assert len({message.message_id for message in messages}) == len(messages) == 5
    degradations = [photo.degradation for message in messages for photo in message.photos]
    assert degradations.count(None) >= 3
    assert len(set(degradations) - {None}) >= 4
