"""Photos of a folder as messages for the demo."""

from pathlib import Path

from worker.cli.demo_photos import SAMPLE_PHOTOS, messages_from


def test_each_photo_is_a_message(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.png"):
        (tmp_path / name).write_bytes(name.encode())

    messages, skipped = messages_from(tmp_path, take_all=False)

    photos = [[(photo.name, photo.data) for photo in each] for each in messages.values()]
    assert photos == [[("a.jpg", b"a.jpg")], [("b.png", b"b.png")]]
    assert not skipped


def test_sample_is_drawn_from_the_whole_folder_when_it_is_large(tmp_path: Path) -> None:
    for number in range(2 * SAMPLE_PHOTOS):
        (tmp_path / f"{number:03}.jpg").touch()

    sample, skipped = messages_from(tmp_path, take_all=False)
    everything, _ = messages_from(tmp_path, take_all=True)

    assert (len(sample), len(everything)) == (SAMPLE_PHOTOS, 2 * SAMPLE_PHOTOS)
    assert list(sample.values())[-1][0].name == "046.jpg"
    assert sum(skipped.values()) == SAMPLE_PHOTOS
