"""`triage dataset` needs neither a database nor torch: it reads and writes tables."""

import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from PIL import Image

from tests.support.command_line import Result
from triage.dataset.manifest import Split, read_manifest
from triage.samples.drawing import SkinTone, draw_skin_photo

Dataset = Callable[..., Result]
DONE, FAULTS, USAGE = 0, 1, 2


@pytest.fixture
def dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_command: Callable[..., Result]) -> Dataset:
    monkeypatch.setenv("TRIAGE_HOME", str(tmp_path / "home"))
    return partial(run_command, "dataset")


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Twenty photos that four reviewers voted on."""
    lines = ["path,reviewer_ann,reviewer_bo,reviewer_cy,reviewer_di,fitzpatrick,source,patient"]
    for number in range(20):
        Image.effect_noise((70, 70), 90).convert("RGB").save(tmp_path / f"{number}.png")
        reviews = ",".join("1" if reviewer < number % 5 else "0" for reviewer in range(4))
        lines.append(f"{number}.png,{reviews},{number % 6 + 1},patient,p-{number}")
    path = tmp_path / "manifest.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_check_counts_the_photos_when_nothing_is_wrong(dataset: Dataset, manifest: Path) -> None:
    result = dataset("check", manifest)

    assert (result.code, result.err) == (DONE, "")
    assert result.out == "20 photos, 4 votes each: no defects\n"


def test_check_names_every_defect_when_rows_are_wrong(dataset: Dataset, manifest: Path) -> None:
    manifest.write_text("path,votes\n0.png,7\nmissing.png,1\n1.png,2\n", encoding="utf-8")

    result = dataset("check", manifest)

    assert (result.code, result.out) == (USAGE, "")
    assert "line 2: votes" in result.complaint()
    assert "line 3: no file" in result.complaint()
    assert "line 4" not in result.complaint()


def test_check_lists_unreadable_photos_by_the_names_of_the_manifest_and_fails_when_it_reads_them(
    dataset: Dataset, manifest: Path, tmp_path: Path
) -> None:
    (tmp_path / "1.png").write_bytes(b"Dear doctor")
    Image.new("RGB", (20, 20)).save(tmp_path / "4.png")

    result = dataset("check", manifest, "--photos")

    assert (result.code, result.err) == (FAULTS, "")
    first, second, third = result.out.splitlines()
    assert first == "20 photos, 4 votes each: 2 defects"
    assert second.startswith("1.png cannot be decoded")
    assert third.startswith("4.png cannot be decoded")
    assert len(dataset("check", manifest).out.splitlines()) == 1


def test_check_finds_a_photo_that_is_in_twice_when_it_reads_them(
    dataset: Dataset, manifest: Path, tmp_path: Path
) -> None:
    sharp = draw_skin_photo(1, tone=SkinTone.IV, size=(400, 300))
    sharp.save(tmp_path / "0.png")
    sharp.resize((200, 150)).save(tmp_path / "1.png")
    (tmp_path / "2.png").write_bytes((tmp_path / "3.png").read_bytes())
    draw_skin_photo(2, tone=SkinTone.IV, size=(400, 300)).save(tmp_path / "4.png")
    header, *rows = manifest.read_text(encoding="utf-8").splitlines()
    splits = ["train", "test", "train", "train", "test"] + ["train"] * 15
    lines = [f"{header},split", *(f"{row},{split}" for row, split in zip(rows, splits, strict=True))]
    manifest.write_text("\n".join(lines) + "\n", encoding="utf-8")

    result = dataset("check", manifest, "--photos")

    assert result.code == FAULTS
    assert result.out.splitlines() == [
        "20 photos, 4 votes each: 2 defects",
        "2.png (train) and 3.png (train) are the same file",
        "0.png (train) and 1.png (test) look alike",
    ]


def test_check_says_how_many_photos_have_no_patient(dataset: Dataset, manifest: Path) -> None:
    text = manifest.read_text(encoding="utf-8")
    manifest.write_text(text.replace(",p-3\n", ",\n"), encoding="utf-8")

    result = dataset("check", manifest)

    assert result.code == DONE
    assert result.out.splitlines()[0].endswith("no defects")
    assert result.out.splitlines()[1].startswith("1 photo without a patient: ")


@pytest.mark.parametrize(
    "shares", ["0,0,0", "-1,50,51", "101,0,-1", "50,50", ",,", "33.3,33.3,33.4", f"{'9' * 5000},1,1"]
)
def test_split_is_refused_when_its_shares_are_malformed(
    dataset: Dataset, manifest: Path, tmp_path: Path, shares: str
) -> None:
    result = dataset("split", manifest, "-o", tmp_path / "no.csv", "--shares", shares)

    assert result.code == USAGE
    assert "60,20,20" in result.err


def test_split_says_what_to_do_when_a_part_is_too_small_to_choose_a_threshold(
    dataset: Dataset, manifest: Path, tmp_path: Path
) -> None:
    few = dataset("split", manifest, "-o", tmp_path / "few.csv")
    for number in range(100):  # a photo counts once, so each row names its own copy
        (tmp_path / f"copy-{number}.png").write_bytes((tmp_path / f"{number % 20}.png").read_bytes())
    rows = [f"copy-{number}.png,{4 * (number % 2)}\n" for number in range(100)]
    (tmp_path / "many.csv").write_text("path,votes\n" + "".join(rows), encoding="utf-8")
    shares = ("--shares", "20,40,40")

    enough = dataset("split", tmp_path / "many.csv", "-o", tmp_path / "enough.csv", *shares)
    wrong = dataset("split", manifest, "-o", tmp_path / "no.csv", "--shares", "50,50,50")

    assert (few.code, enough.code, wrong.code) == (DONE, DONE, USAGE)
    [_, caution] = few.out.splitlines()
    assert caution.startswith("caution: validation ")
    assert "--shares" in caution
    assert enough.out == f"{tmp_path}/enough.csv: train 20, validation 40, test 40\n"
    assert "three whole numbers whose sum is 100" in wrong.complaint()


def test_split_is_refused_when_photos_have_splits_unless_they_are_wanted_again(
    dataset: Dataset, manifest: Path, tmp_path: Path
) -> None:
    first, again = tmp_path / "first.csv", tmp_path / "again.csv"
    assert dataset("split", manifest, "-o", first).code == DONE

    refused = dataset("split", first, "-o", again)

    assert (refused.code, again.exists()) == (USAGE, False)
    assert "give --resplit" in refused.complaint()
    assert dataset("split", first, "-o", again, "--resplit", "--seed", "7").code == DONE
    before, after = ([photo.split for photo in read_manifest(path).photos] for path in (first, again))
    assert Counter(before) == Counter(after)
    assert before != after


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_split_gives_each_photo_a_side_when_it_writes_a_manifest(
    dataset: Dataset, manifest: Path, tmp_path: Path, suffix: str
) -> None:
    output = tmp_path / f"split.{suffix}"

    result = dataset("split", manifest, "-o", output, "--seed", "1")

    assert (result.code, result.err) == (DONE, "")
    before, after = read_manifest(manifest), read_manifest(output)
    assert [(photo.path, photo.reviews) for photo in after.photos] == [(p.path, p.reviews) for p in before.photos]
    sizes = Counter(photo.split for photo in after.photos)
    assert set(sizes) <= set(Split)
    assert sizes[Split.TRAIN] >= 12
    assert all(f"{side.value} {n}" in result.out for side, n in sizes.items() if side)


def test_describe_prints_one_document_when_asked_for_json(dataset: Dataset, manifest: Path) -> None:
    result = dataset("describe", manifest, "--json")

    assert (result.code, result.err) == (DONE, "")
    assert result.json["by_split"]["not split"]["votes"] == [4, 4, 4, 4, 4]
    assert [reviewer["good"] for reviewer in result.json["reviewers"]] == [16, 12, 8, 4]


def test_describe_shows_tables_when_people_read_it(dataset: Dataset, manifest: Path) -> None:
    result = dataset("describe", manifest, "--good-votes", "3")

    assert (result.code, result.err) == (DONE, "")
    assert "20 photos, 8 good (3 or more of 4 votes, or that share)" in result.out
    for shown in (
        "votes 4",
        "Fitzpatrick IV-VI",
        "source patient",
        "ann",
        "80.0 %",
        "Krippendorff",
        "kappa (n)",
        "0.12 (20)",
    ):
        assert shown in result.out


def test_redcap_export_becomes_a_manifest_when_it_is_imported(dataset: Dataset, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for record in ("1", "2"):
        Image.new("RGB", (70, 70)).save(photos / f"{record}.jpg")
    export = tmp_path / "export.csv"
    export.write_text("record_id,who,quality\n1,ann,Yes\n1,bo,No\n2,ann,1\n2,bo,1\n", encoding="utf-8")

    result = dataset("import-redcap", export, "--photos", photos, "--reviewer", "who", "-o", tmp_path / "made.csv")

    assert (result.code, result.err) == (DONE, "")
    assert "2 photos, 2 reviewers" in result.out
    assert [(p.path.name, p.reviews) for p in read_manifest(tmp_path / "made.csv").photos] == [
        ("1.jpg", (1, 0)),
        ("2.jpg", (1, 1)),
    ]


def test_import_names_the_columns_of_reasons_that_it_does_not_know(dataset: Dataset, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (70, 70)).save(tmp_path / "photos" / "1.jpg")
    export = tmp_path / "export.csv"
    export.write_text(
        "record_id,reviewer,quality,reason___defocus,reason___blurry,reason___9\n1,ann,0,1,1,0\n", encoding="utf-8"
    )

    result = dataset("import-redcap", export, "--photos", tmp_path / "photos", "-o", tmp_path / "made.csv")

    assert (result.code, result.err) == (DONE, "")
    [named] = [line for line in result.out.splitlines() if line.startswith("not read")]
    assert named.endswith(": reason___blurry, reason___9")


def test_import_names_line_and_column_when_a_photo_is_missing(dataset: Dataset, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    export = tmp_path / "export.csv"
    export.write_text("record_id,reviewer,photo_file,quality\n1,ann,a.jpg,1\n", encoding="utf-8")
    arguments = ("--photos", tmp_path / "photos", "--photo", "photo_file", "-o", tmp_path / "made.csv")

    result = dataset("import-redcap", export, *arguments)

    assert result.code == USAGE
    assert "line 2: the folder of photos has no file of this name (column photo_file)" in result.complaint()


def test_import_accounts_for_every_row_and_photo_in_its_last_line(dataset: Dataset, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in "abcde":
        Image.new("RGB", (70, 70)).save(photos / f"{name}.jpg")
    lines = [
        "record_id;redcap_repeat_instance;reviewer;photo_file;quality;fitzpatrick",
        *("1;;;;;2", "1;1;ann;a.jpg;1;3", "1;2;bo;a.jpg;0;4", "1;3;ann;b.jpg;NI;", "1;4;bo;b.jpg;1;"),
        *("2;1;ann;c.jpg;;", "2;2;bo;c.jpg;-99;", "3;1;ann;d.jpg;1;", "3;1;ann;d.jpg;1;"),
    ]
    export = tmp_path / "export.csv"
    export.write_text("\n".join(lines), encoding="utf-8")

    result = dataset(
        *("import-redcap", export, "--photos", photos, "--photo", "photo_file", "--missing", "NI,-99"),
        *("-o", tmp_path / "made.csv"),
    )

    assert (result.code, result.err) == (DONE, "")
    assert result.out.splitlines() == [
        f"{tmp_path}/made.csv: 3 photos, 2 reviewers, 2 votes on 1 photo, 1 on 2",
        "columns used: record_id, reviewer, photo_file, quality, fitzpatrick; others not used: 1",
        "fitzpatrick: 1 photo with several values, the first is used",
        (
            "9 rows read: 4 votes used, 5 not "
            "(1 without a review, 2 with a code for missing data, 1 not rated yet, 1 repeated); "
            "3 photos used, 1 not rated yet; files not in the export: 1"
        ),
    ]
    assert dataset("check", tmp_path / "made.csv").code == DONE


@pytest.mark.parametrize(
    "arguments",
    [["check"], ["describe"], ["split", "-o", "out.csv"], ["import-redcap", "--photos", ".", "-o", "out.csv"]],
)
def test_command_ends_in_one_line_when_its_file_is_missing(dataset: Dataset, arguments: list[str]) -> None:
    result = dataset(*arguments, "/nonexistent.csv")

    assert (result.code, result.out) == (USAGE, "")
    assert "cannot be read" in result.complaint()
    assert not Path("out.csv").exists()


def test_torch_stays_out_when_the_commands_are_imported() -> None:
    check = "import sys, worker.cli.dataset; sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
