"""Photos of a training run, prepared by several threads."""

import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from triage.dataset.manifest import LabelledPhoto
from triage.imaging.decode import Decoder
from triage.imaging.photo import DecodedPhoto
from triage.training.photos import load_photos

THREADS = 4
UNREADABLE = (0, 3, 4, 9)


@pytest.fixture
def labels(tmp_path: Path) -> list[LabelledPhoto]:
    """Twelve photos, each of its own brightness; some cannot be read."""
    for number in range(12):
        path = tmp_path / f"{number}.png"
        Image.new("RGB", (64, 64), (20 * number,) * 3).save(path)
        if number in UNREADABLE:
            path.write_bytes(b"no photo")
    return [LabelledPhoto(tmp_path / f"{number}.png", number % 5) for number in range(12)]


class MeetingDecoder(Decoder):
    """Decodes photos of four threads at the same time only. Photos do not end in the order in which they start."""

    def __init__(self) -> None:
        super().__init__()
        self._meeting = threading.Barrier(THREADS, timeout=60)

    def decode(self, data: bytes, *, apart: bool = False) -> DecodedPhoto:
        time.sleep(0.01 * self._meeting.wait())  # 0 for the last one that arrives
        return super().decode(data, apart=apart)


def test_photos_keep_their_order_when_several_threads_prepare_them(tmp_path: Path, labels: list[LabelledPhoto]) -> None:
    counts: list[int] = []

    one, _ = load_photos(labels, tmp_path / "one", Decoder())
    several, left_out = load_photos(
        labels, tmp_path / "several", MeetingDecoder(), threads=THREADS, on_photo=counts.append
    )

    readable = [number for number in range(12) if number not in UNREADABLE]
    assert several.photos[:, 0, 0, 0].tolist() == [20 * number for number in readable]
    assert np.array_equal(one.photos.numpy(), several.photos.numpy())
    assert [label.votes for label in several.labels] == [number % 5 for number in readable]
    assert list(several.labels) == [labels[number] for number in readable]
    assert (left_out, counts) == (len(UNREADABLE), list(range(1, 13)))


def test_preparation_ends_soon_when_the_progress_callback_raises(tmp_path: Path, labels: list[LabelledPhoto]) -> None:
    stopped = threading.Event()
    calls: list[bytes] = []
    first, others = labels[1], labels[2:3] * 1000

    class StopError(Exception):
        pass

    class WaitingDecoder(Decoder):
        def decode(self, data: bytes, *, apart: bool = False) -> DecodedPhoto:
            calls.append(data)
            if data != first.path.read_bytes():  # threads may reach this line in any order
                assert stopped.wait(60)
            return super().decode(data, apart=apart)

    def stop(_: int) -> None:
        stopped.set()
        raise StopError

    with pytest.raises(StopError):
        load_photos([first, *others], tmp_path / "photos", WaitingDecoder(), threads=THREADS, on_photo=stop)

    assert len(calls) < 1000
