import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.support.photo_files import MAKERS
from triage.imaging import memory
from triage.imaging.decode import Decoder
from triage.imaging.memory import recycled_pixels
from triage.samples.drawing import draw_skin_photo

SHAPE = (300, 400, 3)


@pytest.fixture(autouse=True)
def no_memory_of_other_tests() -> Iterator[None]:
    memory._unused.clear()
    yield
    memory._unused.clear()


def test_memory_is_used_again_and_blank_when_a_photo_is_gone() -> None:
    first = recycled_pixels(SHAPE)
    address = first.ctypes.data
    first.fill(200)
    del first
    second = recycled_pixels((500, 300, 4))

    assert second.ctypes.data == address
    assert second.shape == (500, 300, 4)
    assert not second.any()


def test_memory_is_overwritten_before_another_photo_needs_it() -> None:
    pixels = recycled_pixels(SHAPE)
    pixels.fill(200)
    del pixels

    [unused] = memory._unused
    assert not np.frombuffer(unused, np.uint8).any()


VIEWS: Mapping[str, Callable[[NDArray[np.uint8]], Any]] = {
    "turned": lambda pixels: pixels.transpose(1, 0, 2)[::-1],
    "channel": lambda pixels: pixels[10:20][..., 1],
    "torch": lambda pixels: torch.from_numpy(pixels).permute(2, 0, 1)[:, :5],
    "bytes": lambda pixels: pixels.data,
}


@pytest.mark.parametrize("view", VIEWS)
def test_memory_stays_in_use_when_a_view_is_left(view: str) -> None:
    pixels = recycled_pixels(SHAPE)
    pixels.fill(200)
    left = VIEWS[view](pixels)
    del pixels
    other = recycled_pixels(SHAPE)
    other.fill(1)

    assert (np.asarray(left) == 200).all()
    del left
    assert len(memory._unused) == 1


def test_two_photos_never_share_memory_when_threads_decode_at_once() -> None:
    wrong = []

    def use(value: int) -> None:
        for _ in range(200):
            pixels = recycled_pixels((40, 40, 3))
            if pixels.any():
                wrong.append(value)
            pixels.fill(value)
            if not (pixels == value).all():
                wrong.append(value)

    threads = [threading.Thread(target=use, args=(value,)) for value in range(1, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert wrong == []
    assert len(memory._unused) <= 2 * len(threads)  # each takes the next photo before it frees the last


def test_large_photo_keeps_no_memory() -> None:
    pixels = recycled_pixels((5000, 4000, 3))
    assert not pixels[::999].any()
    del pixels

    assert not memory._unused


@pytest.mark.parametrize("name", ["jpeg", "tiff"])
def test_photo_is_unchanged_when_others_are_decoded_after_it(name: str) -> None:
    files = [MAKERS[name](draw_skin_photo(seed, size=(120, 90))) for seed in range(3)]
    with Decoder() as decoder:
        expected = [decoder.decode(data).pixels.copy() for data in files]
        photos = [decoder.decode(data) for data in files]

        assert all(np.array_equal(photo.pixels, pixels) for photo, pixels in zip(photos, expected, strict=True))
        del photos
        assert memory._unused
