"""`triage label-next` and `triage dataset suspects` need no database for a model in a folder."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.command_line import Result
from tests.support.narrow_model import write_narrow_model
from triage.dataset.manifest import read_manifest
from triage.imaging.degradation import Degradation, degrade
from triage.samples.drawing import SkinTone, draw_skin_photo


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty-four drawn photos, every other one dark; the label of one contradicts its photo. Two more have no votes."""
    folder = tmp_path_factory.mktemp("photos")
    lines = ["path,votes,n_reviewers,patient"]
    for number in range(46):
        photo = draw_skin_photo(number, tone=SkinTone.III, size=(80, 80))
        is_dark = number % 2 == 1
        (degrade(photo, Degradation.DARK, 0.9, 1) if is_dark else photo).save(folder / f"{number}.png")
        votes = 0 if is_dark != (number == 8) else 4
        lines.append(f"{number}.png,{votes},4,p-{number}" if number < 44 else f"{number}.png,,,p-{number}")
    (folder / "all.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "labelled.csv").write_text("\n".join(lines[:45]) + "\n", encoding="utf-8")
    (folder / "few.csv").write_text("\n".join(lines[:5]) + "\n", encoding="utf-8")
    write_narrow_model(folder / "model")
    return folder


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_command: Callable[..., Result]) -> Callable[..., Result]:
    monkeypatch.setenv("TRIAGE_HOME", str(tmp_path / "home"))
    return run_command


def test_photos_without_votes_are_chosen_and_written_to_be_filled_in(
    run: Callable[..., Result], folder: Path, tmp_path: Path
) -> None:
    model, features = folder / "model", tmp_path / "features"
    arguments = ("label-next", folder / "all.csv", "--model", model, "--features", features)

    shown = run(*arguments, "-o", tmp_path / "next.csv")
    printed = run(*arguments, "--n", "1", "--other-model", model, "--json")

    assert (shown.code, shown.err) == (0, "")
    assert shown.out.startswith("2 photos to label next, by narrow\n")
    assert shown.out.endswith("46 photos read: 46 scored, 0 not assessable; not read: none\n")
    written = read_manifest(tmp_path / "next.csv", with_unlabelled=True).photos
    assert {photo.path.name for photo in written} == {"44.png", "45.png"}
    assert "score" not in (tmp_path / "next.csv").read_text(encoding="utf-8")
    [first] = printed.json["photos"]
    assert Path(first["path"]).name in {"44.png", "45.png"}
    assert first["model_disagreement"] == pytest.approx(0)
    assert first["value"] == pytest.approx(first["entropy"])
    assert (printed.json["models"], printed.json["n"]) == (["narrow", "narrow"], 46)


def test_unreadable_photo_is_named_in_a_line_of_its_kind_after_the_table(
    run: Callable[..., Result], folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "letter.png").write_bytes(b"Dear doctor")
    (tmp_path / "photo.png").write_bytes((folder / "0.png").read_bytes())

    result = run("label-next", "--photos", tmp_path, "--model", folder / "model")

    assert (result.code, result.err) == (0, "")
    *_, named, summary = result.out.splitlines()
    assert named.startswith(f"not assessable: {tmp_path}/letter.png: unknown image format")
    assert summary == "2 photos read: 1 scored, 1 not assessable (unknown_format 1); not read: none"


def test_photo_that_the_second_model_cannot_crop_is_left_out(
    run: Callable[..., Result], folder: Path, tmp_path: Path
) -> None:
    write_narrow_model(tmp_path / "cropping", training_settings={"region_of_interest": True})
    rows = f"{folder}/44.png,500,500,600,600\n{folder}/45.png,0,0,70,70\n"
    (tmp_path / "boxes.csv").write_text(f"path,box_left,box_top,box_right,box_bottom\n{rows}", encoding="utf-8")
    arguments = ("label-next", tmp_path / "boxes.csv", "--model", folder / "model")

    printed = run(*arguments, "--other-model", tmp_path / "cropping", "--json")

    assert (printed.code, printed.err) == (0, "")
    assert [Path(photo["path"]).name for photo in printed.json["photos"]] == ["45.png"]
    assert (printed.json["n"], printed.json["n_unread"]) == (2, 1)


def test_wrong_label_is_the_first_suspect(run: Callable[..., Result], folder: Path, tmp_path: Path) -> None:
    arguments = ("dataset", "suspects", folder / "labelled.csv", "--model", folder / "model")
    (tmp_path / "labels").mkdir()

    shown = run(*arguments, "--features", tmp_path / "features", "-o", tmp_path / "labels" / "suspects.csv")
    printed = run(*arguments, "--features", tmp_path / "features", "--json")

    assert (shown.code, shown.err) == (0, "")
    assert "of 44 are likely wrong" in shown.out
    first = printed.json["photos"][0]
    assert Path(first["path"]).name == "8.png"
    assert (first["label"], first["predicted"], first["votes"], first["n_reviewers"]) == ("bad", "good", 0, 4)
    assert (printed.json["n"], printed.json["n_good"]) == (44, 21)
    assert "8.png,p-8,,0,4,bad,good," in (tmp_path / "labels" / "suspects.csv").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("label-next",), "no photos"),
        (("label-next", "missing.csv"), "missing.csv"),
        (("label-next", "--photos", "missing"), "missing"),
        (("label-next", "labelled.csv", "--model", "./model"), "no photo to learn from"),
        (("label-next", "all.csv", "--model", "./model", "--features", "all.csv"), "no file of features"),
        (("label-next", "labelled.csv", "--model", "./missing"), "no photo to learn from"),  # before the model is read
        (("dataset", "suspects", "few.csv", "--model", "./missing"), "at least 20 of each"),  # likewise
        (("dataset", "suspects", "all.csv"), "votes must be a whole number"),
    ],
)
def test_usage_is_refused_in_one_line_when_wrong(
    run: Callable[..., Result], folder: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], said: str
) -> None:
    monkeypatch.chdir(folder)

    result = run(*arguments)

    assert (result.code, result.out) == (2, "")
    assert said in result.complaint()
