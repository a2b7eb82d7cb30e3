"""`triage score --map` and `triage explain --map`."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest
from PIL import Image

from tests.support.command_line import Result
from tests.support.photo_files import MAKERS
from triage.samples.drawing import draw_skin_photo
from worker.settings import load_settings
from worker.tasks.base import WorkerServices

Triage: TypeAlias = Callable[..., Result]


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(MAKERS["jpeg"](draw_skin_photo(1, size=(480, 360))))
    return photo


@pytest.fixture
def live(triage: Triage, model_folder: Path) -> None:
    assert triage("models", "add", model_folder).code == 0
    assert triage("models", "promote", "strict").code == 0


def test_score_writes_a_map_in_the_proportions_of_the_photo(
    triage: Triage, photo: Path, model_folder: Path, tmp_path: Path
) -> None:
    shown = triage("score", photo, "--model", model_folder, "--map", tmp_path / "map.png")

    assert shown.code == 0
    assert "orange lowers" in shown.out
    with Image.open(tmp_path / "map.png") as picture:
        assert (picture.format, picture.size) == ("PNG", (672, 896))  # the photo is upright: 360 x 480


def test_score_refuses_a_map_when_there_is_not_one_readable_photo(
    triage: Triage, photo: Path, model_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "letter.txt").write_bytes(b"Dear")
    to = ("--model", model_folder, "--map", tmp_path / "map.png")

    assert "takes one photo, not 2" in triage("score", photo, photo, *to).complaint()
    assert "no map" in triage("score", tmp_path / "letter.txt", *to).complaint()
    assert not (tmp_path / "map.png").exists()
    nowhere = triage("score", photo, "--model", model_folder, "--map", tmp_path / "missing" / "map.png")
    assert "cannot be written" in nowhere.complaint()


@pytest.mark.usefixtures("live")
def test_explain_maps_a_stored_photo_as_score_does_and_records_who_saw_it(
    triage: Triage, photo: Path, model_folder: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.jpg"
    other.write_bytes(MAKERS["png"](draw_skin_photo(2, size=(480, 360))))
    triage("enqueue", photo, other, "--message-id", "m-1")
    with WorkerServices(load_settings()) as services:
        services.scoring.drain()
    [first, _] = triage("explain", "m-1", "--json").json["attachments"]

    several = triage("explain", "m-1", "--map", tmp_path / "stored.png")
    assert "has 2 photos: name one" in several.complaint()
    unknown = triage("explain", "m-1", "--map", tmp_path / "stored.png", "--photo", "other")
    assert "no photo with this id" in unknown.complaint()
    name = first["attachment_id"]
    shown = triage("explain", "m-1", "--map", tmp_path / "stored.png", "--photo", name, "--by", "nurse-1")

    assert shown.code == 0
    triage("score", photo, "--model", model_folder, "--map", tmp_path / "scored.png")
    assert (tmp_path / "stored.png").read_bytes() == (tmp_path / "scored.png").read_bytes()
    events = triage("explain", "m-1", "--json").json["audit"]
    seen = [(event["actor"], event["details"]["attachment"]) for event in events if event["action"] == "photo.seen"]
    assert seen == [("nurse-1", first["id"])]


@pytest.mark.usefixtures("live")
def test_explain_has_no_map_when_the_bytes_were_removed_or_nothing_was_scored(
    triage: Triage, photo: Path, tmp_path: Path
) -> None:
    triage("enqueue", photo, "--message-id", "m-1")
    pending = triage("explain", "m-1", "--map", tmp_path / "map.png")
    with WorkerServices(load_settings()) as services:
        services.scoring.drain()
    assert triage("purge", "--days", "0.000001").code == 0
    purged = triage("explain", "m-1", "--map", tmp_path / "map.png")

    assert "was not scored" in pending.complaint()
    assert "were removed" in purged.complaint()
    assert not (tmp_path / "map.png").exists()
