"""Photos of every format through the commands, and the errors that users see."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pytest

from tests.support.command_line import Result
from tests.support.photo_files import MAKERS, dicom, encode
from triage.imaging.degradation import Degradation, degrade
from triage.samples.drawing import draw_skin_photo
from worker.settings import load_settings
from worker.tasks.base import WorkerServices

Triage: TypeAlias = Callable[..., Result]

SHARP = draw_skin_photo(1, size=(480, 360))
BLURRED = degrade(draw_skin_photo(2, size=(900, 720)), Degradation.DEFOCUS, 0.5, seed=1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, make in MAKERS.items():
        (folder / f"{name}.jpg").write_bytes(make(SHARP))  # what a file is called means nothing
    (folder / ".hidden.jpg").write_bytes(b"of no concern")
    frames = np.stack([np.asarray(SHARP)] * 5)
    (folder / "dicom-frames.jpg").write_bytes(dicom(frames, n_frames=5))
    return folder


def test_folder_of_every_format_is_scored(triage: Triage, folder: Path, model_folder: Path) -> None:
    result = triage("score", folder, "--model", model_folder, "--json")

    rows = {Path(row["path"]).stem: row for row in result.json}
    assert set(rows) == {*MAKERS, "dicom-frames"}
    assert {row["outcome"] for row in rows.values()} == {"scored"}
    expected = {"dicom": "application/dicom"} | {name: f"image/{name}" for name in ("jpeg", "png", "webp", "heic")}
    for name, media_type in expected.items():
        assert rows[name]["photo"] == {"media_type": media_type, "width": 360, "height": 480, "n_frames": 1, "frame": 0}
    assert (rows["dicom-frames"]["photo"]["n_frames"], rows["dicom-frames"]["photo"]["frame"]) == (5, 2)


def test_last_line_accounts_for_all_files(triage: Triage, tmp_path: Path, model_folder: Path) -> None:
    for name, data in {
        "good.jpg": MAKERS["jpeg"](SHARP),
        "empty.jpg": b"",
        "letter.txt": b"Dear",
        ".hidden": b"",
    }.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "inside").mkdir()
    reasons = "empty 1, unknown_format 1, not_found 1"
    expected = f"4 photos read: 1 scored, 3 not assessable ({reasons}); not read: 1 hidden, 1 no file"

    shown = triage("score", tmp_path, "nothing.jpg", "--model", model_folder)
    document = triage("score", tmp_path, "nothing.jpg", "--model", model_folder, "--json")

    assert shown.out.splitlines()[-1] == expected
    assert (len(document.json), document.err.splitlines()[-1]) == (4, expected)


def test_findings_are_the_same_in_score_and_explain(triage: Triage, model_folder: Path, tmp_path: Path) -> None:
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(MAKERS["heic"](BLURRED))
    assert triage("models", "add", model_folder).code == 0
    assert triage("models", "promote", "strict").code == 0

    [row] = triage("score", photo, "--model", model_folder, "--json").json
    triage("enqueue", photo, "--message-id", "m-1")
    with WorkerServices(load_settings()) as services:
        services.scoring.drain()
    [attachment] = triage("explain", "m-1", "--json").json["attachments"]

    assert (attachment["declared_type"], attachment["media_type"]) == ("image/jpeg", "image/heic")
    [verdict] = attachment["verdicts"]
    assert verdict["findings"] == row["findings"]
    assert verdict["findings"][0]["kind"] == "defocus"
    assert "sharp" in verdict["findings"][0]["tip"]
    assert "defocus" in triage("explain", "m-1").out
    assert "defocus" in triage("score", photo, "--model", model_folder).out


def test_bad_photo_is_explained_when_it_has_no_finding(
    triage: Triage, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("photo.jpg").write_bytes(encode(SHARP, "JPEG", quality=95))

    [row] = triage("score", "photo.jpg", "--model", model_folder, "--json").json

    assert (row["acceptable"], row["findings"]) == (False, [])
    assert "no single cause measured" in triage("score", "photo.jpg", "--model", model_folder).out
