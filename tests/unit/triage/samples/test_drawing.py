import numpy as np
from PIL import Image

from triage.samples.drawing import SkinTone, draw_sample_messages, draw_skin_photo

SIZE = (300, 400)


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


def test_sample_messages_contain_sharp_and_degraded_photos() -> None:
    messages = draw_sample_messages()

    assert len({message.message_id for message in messages}) == len(messages) == 5
    degradations = [photo.degradation for message in messages for photo in message.photos]
    assert degradations.count(None) >= 3
    assert len(set(degradations) - {None}) >= 4
