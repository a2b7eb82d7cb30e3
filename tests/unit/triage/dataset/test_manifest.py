import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from triage.dataset.manifest import (
    Box,
    LabelledPhoto,
    Manifest,
    Split,
    fitzpatrick_type,
    read_manifest,
    write_manifest,
)
from triage.domain.states import FindingKind
from triage.errors import UsageError

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a manifest of these lines beside four photos, a.png to d.png."""
    for name in "abcd":
        Image.new("RGB", (70, 70)).save(tmp_path / f"{name}.png")

    def write_lines(*lines: str) -> Path:
        path = tmp_path / "manifest.csv"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    return write_lines


def _defects(path: Path) -> str:
    with pytest.raises(UsageError) as raised:
        read_manifest(path)
    return str(raised.value)


def test_rows_become_photos_when_only_votes_are_known(write: Write) -> None:
    path = write("votes,path,split,note", "4,a.png,train,x", "0,b.png,validation,")

    manifest = read_manifest(path)

    assert [(photo.path.name, photo.votes, photo.split) for photo in manifest.photos] == [
        ("a.png", 4, Split.TRAIN),
        ("b.png", 0, Split.VALIDATION),
    ]
    assert manifest.photos[0].path.is_file()
    assert manifest.photos[0].others == {"note": "x"}
    assert (manifest.n_reviewers, manifest.reviewers) == (4, ())


def test_photos_are_found_by_their_split(write: Write) -> None:
    manifest = read_manifest(write("path,votes,split", "a.png,1,test", "b.png,2,train", "c.png,3,test"))

    assert [photo.votes for photo in manifest.of(Split.TEST)] == [1, 3]
    assert [photo.votes for photo in manifest.of(Split.TRAIN)] == [2]
    assert manifest.of(Split.VALIDATION) == []


def test_reviews_make_the_votes_when_each_reviewer_has_a_column(write: Write) -> None:
    path = write("path,reviewer_ann,reviewer_bo,reviewer_cy", "a.png,1,0,1", "b.png,,1,", "c.png,0,1,")

    manifest = read_manifest(path)

    assert manifest.reviewers == ("ann", "bo", "cy")
    assert manifest.n_reviewers == 3
    assert [photo.reviews for photo in manifest.photos] == [(1, 0, 1), (None, 1, None), (0, 1, None)]
    assert [(photo.votes, photo.n_votes) for photo in manifest.photos] == [(2, 3), (1, 1), (1, 2)]


def test_labels_of_other_photos_stay_when_one_more_reviewer_votes(write: Write) -> None:
    before = read_manifest(write("path,reviewer_a,reviewer_b,reviewer_c,reviewer_d", "a.png,1,0,0,1", "b.png,1,0,0,0"))
    after = read_manifest(
        write("path,reviewer_a,reviewer_b,reviewer_c,reviewer_d,reviewer_e", "a.png,1,0,0,1,", "b.png,1,0,0,0,1")
    )

    assert (before.n_reviewers, after.n_reviewers) == (4, 5)  # two numbers that are equally frequent: the larger
    three = read_manifest(
        write(
            "path,reviewer_a,reviewer_b,reviewer_c,reviewer_d,reviewer_e",
            *("a.png,1,0,0,1,", "b.png,1,0,0,0,", "c.png,1,0,0,0,1"),
        )
    )
    assert three.n_reviewers == 4
    assert three.votes_per_photo() == {5: 1, 4: 2}
    assert [photo.is_good(2, 4) for photo in three.photos] == [True, False, False]


def test_labels_come_from_the_votes_of_a_photo_when_reviewers_rotate(write: Write) -> None:
    """Four of eight reviewers see each photo: one vote in four does not make a photo good."""
    header = "path," + ",".join(f"reviewer_{number}" for number in range(8))
    manifest = read_manifest(write(header, "a.png,1,0,0,0,,,,", "b.png,,,,,1,1,0,0"))

    assert manifest.n_reviewers == 4
    assert [photo.is_good(2, manifest.n_reviewers) for photo in manifest.photos] == [False, True]


def test_optional_columns_are_read_when_they_are_there(write: Write) -> None:
    header = "image,votes,n_reviewers,source,fitzpatrick,patient,rating,box_left,box_top,box_right,box_bottom"
    manifest = read_manifest(write(header, "a.png,5,5,patient,4,p-1,61.25,1,2,30,40", "b.png,0,5,,,,,,,,"))

    full, bare = manifest.photos
    assert manifest.n_reviewers == 5
    assert (full.source, full.fitzpatrick, full.patient, full.rating) == ("patient", "IV", "p-1", 61.25)
    assert full.box == Box(1, 2, 30, 40)
    assert (bare.source, bare.fitzpatrick, bare.patient, bare.rating, bare.box) == (None,) * 5


@pytest.mark.parametrize(("text", "skin_type"), [("", None), ("1", "I"), ("6", "VI"), ("iii", "III"), ("V", "V")])
def test_skin_type_is_a_roman_numeral_when_it_is_known(text: str, skin_type: str | None) -> None:
    assert fitzpatrick_type(text) == skin_type


def test_reasons_are_shares_of_the_reviewers_when_there_are_columns_for_them(write: Write) -> None:
    manifest = read_manifest(write("path,votes,reason_defocus,reason_too_far", "a.png,0,0.75,", "b.png,4,0,0"))

    assert [photo.reasons for photo in manifest.photos] == [
        {FindingKind.DEFOCUS: 0.75},
        {FindingKind.DEFOCUS: 0.0, FindingKind.TOO_FAR: 0.0},
    ]
    assert all(not photo.others for photo in manifest.photos)


def test_manifest_is_refused_when_a_reason_is_unknown_or_no_share(write: Write) -> None:
    assert "unknown reason in column 'reason_blurry': use reason_badly_framed, " in _defects(
        write("path,votes,reason_blurry", "a.png,0,1")
    )
    assert "line 2: reason_defocus must be the share" in _defects(write("path,votes,reason_defocus", "a.png,0,2"))


def test_byte_order_mark_is_stripped_from_the_first_column(write: Write) -> None:
    path = write("path,votes", "a.png,1")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())

    assert [photo.votes for photo in read_manifest(path).photos] == [1]


def test_error_names_each_defect_with_its_line(write: Write) -> None:
    said = _defects(write("path,votes", "a.png,5", "gone.png,1", ",1", "b.png,x", "c.png,2"))

    assert said.count("line ") == 4
    for defect in ("line 2: votes", "line 3: no file", "line 4: path is empty", "line 5: votes"):
        assert defect in said


def test_error_says_a_defect_once_when_many_rows_have_it(write: Write) -> None:
    said = _defects(write("path,votes", *(f"{number}.png,1" for number in range(12)), *("a.png,x",) * 12))

    assert said.count("line") == 2
    assert "lines 14, 15, 16, 17, 18, 19, 20, 21, 22, 23 and 2 more: votes must be" in said


def test_error_counts_texts_after_the_first_twenty(write: Write) -> None:
    said = _defects(write("path,votes", *(f"a.png,{number}x" for number in range(23))))

    assert said.count("line ") == 20
    assert said.endswith("; and 3 more")


@pytest.mark.parametrize(
    ("lines", "defect"),
    [
        (["path,votes", "a.png,1", "a.png,1"], "line 3: the same photo as in line 2"),
        (["path,votes,patient,split", "a.png,1,p,train", "b.png,1,p,test"], "line 3: the patient is also in"),
        (["path,votes,split", "a.png,1,train", "b.png,1,"], "line 3: split is empty"),
        (["path,votes,split", "a.png,1,holdout"], "line 2: split must be one of train, validation, test"),
        (["path,votes,fitzpatrick", "a.png,1,VII"], "line 2: fitzpatrick"),
        (["path,votes,rating", "a.png,1,nan"], "line 2: rating"),
        (["path,reviewer_1", "a.png,2"], "line 2: a vote must be"),
        (["path,reviewer_1,reviewer_2", "a.png,,"], "line 2: no reviewer has voted"),
        (["path,votes,box_left,box_top,box_right,box_bottom", "a.png,1,5,0,5,9"], "line 2: a box"),
        (["path,votes,box_left,box_top,box_right,box_bottom", "a.png,1,5,0,,9"], "line 2: a box needs four"),
        (["path,votes,n_reviewers", "a.png,1,3", "b.png,1,33"], "line 3: n_reviewers must be the number"),
        (["path,votes,n_reviewers", "a.png,1,x"], "line 2: n_reviewers must be a whole number"),
        (["path,score", "a.png,1"], "needs the column path, and either votes"),
        (["file,votes", "a.png,1"], "needs the column path"),
        (["path,votes"], "no rows"),
    ],
)
def test_manifest_is_refused_when_it_has_a_defect(write: Write, lines: list[str], defect: str) -> None:
    assert defect in _defects(write(*lines))


def test_votes_are_limited_by_the_expected_number_of_reviewers(write: Write) -> None:
    path = write("path,votes", "a.png,5")

    assert read_manifest(path, n_reviewers=5).photos[0].votes == 5
    assert "from 0 to 4" in _defects(path)


def test_number_of_outputs_is_the_expected_one_when_photos_have_other_votes(write: Write) -> None:
    manifest = read_manifest(write("path,votes,n_reviewers", "a.png,1,3", "b.png,2,3"), n_reviewers=4)

    assert (manifest.n_reviewers, manifest.votes_per_photo()) == (4, {3: 2})
    assert [photo.is_good(2, 4) for photo in manifest.photos] == [False, True]


@pytest.mark.parametrize(
    ("text", "vote"),
    [("1", 1), ("1.0", 1), ("TRUE", 1), ("yes", 1), ("0.0", 0), ("False", 0), ("NaN", None), ("NA", None), ("", None)],
)
def test_vote_is_read_when_another_tool_wrote_it(write: Write, text: str, vote: int | None) -> None:
    [photo] = read_manifest(write("path,reviewer_a,reviewer_b", f"a.png,{text},1")).photos

    assert photo.reviews == (vote, 1)


def test_error_shows_a_strange_vote_once_when_many_rows_have_it(write: Write) -> None:
    said = _defects(write("path,reviewer_a", "a.png,maybe", "b.png,maybe", "c.png,2"))

    assert said.count("'maybe'") == 1
    assert "lines 2, 3: a vote must be" in said
    assert "line 4: a vote must be 1 or 0" in said


@pytest.mark.parametrize("name", ["photo.csv", "missing.csv", "photo.parquet", "missing.parquet"])
def test_file_is_refused_when_it_is_not_a_table(tmp_path: Path, name: str) -> None:
    for suffix in ("csv", "parquet"):
        (tmp_path / f"photo.{suffix}").write_bytes(b"\xff\xd8\xff\xe0\x00\x10")

    with pytest.raises(UsageError, match="cannot be read"):
        read_manifest(tmp_path / name)


def test_error_names_the_package_to_install_when_pyarrow_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)

    with pytest.raises(UsageError, match="install the package pyarrow"):
        read_manifest(tmp_path / "manifest.parquet")


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize("with_reviews", [True, False])
def test_written_manifest_reads_the_same_when_every_column_is_used(
    write: Write, tmp_path: Path, suffix: str, with_reviews: bool
) -> None:
    write()
    photos = (
        LabelledPhoto(
            tmp_path / "a.png",
            1,
            (1, 0, 0),
            source="patient",
            fitzpatrick="II",
            patient="p-1",
            box=Box(0, 1, 2, 3),
            split=Split.TEST,
            rating=1 / 3,
            others={"site": 'arm, "left"\nupper', "device": "phone"},
            n_votes=3,
        ),
        LabelledPhoto(
            tmp_path / "b.png",
            1,
            (None, 1, None),
            split=Split.TRAIN,
            others={"site": "leg", "device": "x"},
            n_votes=1,
        ),
    )
    manifest = Manifest(photos, 3, ("ann", "bo", "cy"))
    if not with_reviews:
        manifest = Manifest(tuple(replace(photo, reviews=()) for photo in photos), 3)

    write_manifest(manifest, tmp_path / f"out.{suffix}")

    assert read_manifest(tmp_path / f"out.{suffix}") == manifest


def test_paths_are_relative_when_the_photos_lie_beside_the_manifest(write: Write, tmp_path: Path) -> None:
    manifest = read_manifest(write("path,votes", "a.png,1"))

    write_manifest(manifest, tmp_path / "beside.csv")
    (tmp_path / "far").mkdir()
    write_manifest(manifest, tmp_path / "far" / "away.csv")

    assert (tmp_path / "beside.csv").read_text().splitlines()[1].startswith("a.png,")
    assert read_manifest(tmp_path / "far" / "away.csv") == manifest


def test_old_file_stays_whole_when_writing_fails(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write("path,votes", "a.png,1")
    manifest = read_manifest(path)
    before = sorted(tmp_path.iterdir())

    def fail(*_: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(UsageError, match="cannot be written"):
        write_manifest(manifest, path)

    assert path.read_text() == "path,votes\na.png,1\n"
    assert sorted(tmp_path.iterdir()) == before


def test_manifest_neutralises_formulas_and_is_read_back_unchanged(tmp_path: Path) -> None:
    (tmp_path / "-1+1.jpg").write_bytes(b"")
    photo = LabelledPhoto(
        path=tmp_path / "-1+1.jpg", votes=1, source="@SUM(A1)", patient="=1+1", rating=-0.5, others={"+site": "-x"}
    )
    table = tmp_path / "labels.csv"

    write_manifest(Manifest([photo], 4), table)

    written = table.read_text(encoding="utf-8")
    assert not re.search(r"(^|,)[=+@-](?!0\.5)", written, re.MULTILINE)
    assert ",-0.5," in written
    [found] = read_manifest(table).photos
    assert found == replace(photo, n_votes=4)


@pytest.mark.parametrize("column", ["source", "patient"])
def test_manifest_is_refused_when_a_name_has_a_control_or_format_character(tmp_path: Path, column: str) -> None:
    (tmp_path / "a.jpg").write_bytes(b"")
    (tmp_path / "labels.csv").write_text(f"path,votes,{column}\na.jpg,1,erika\u202e\n", encoding="utf-8")

    with pytest.raises(UsageError, match=f"line 2: invalid {column}: .* without control or format") as raised:
        read_manifest(tmp_path / "labels.csv")

    assert "erika" not in str(raised.value)


def test_manifest_is_refused_when_the_name_of_a_reviewer_has_a_format_character(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"")
    (tmp_path / "labels.csv").write_text("path,reviewer_a\u202e\na.jpg,1\n", encoding="utf-8")

    with pytest.raises(UsageError, match="a column's name has control or format characters"):
        read_manifest(tmp_path / "labels.csv")


def test_patients_are_the_same_when_their_ids_differ_in_unicode_composition_only(tmp_path: Path) -> None:
    rows = "a.jpg,1,\u00e9,train\nb.jpg,1,e\u0301,test\n"
    for name in "ab":
        (tmp_path / f"{name}.jpg").write_bytes(b"")
    (tmp_path / "labels.csv").write_text(f"path,votes,patient,split\n{rows}", encoding="utf-8")

    with pytest.raises(UsageError, match="line 3: the patient is also in another split"):
        read_manifest(tmp_path / "labels.csv")


def test_photos_without_votes_are_read_only_when_asked_for(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / f"{name}.png").touch()
    path = tmp_path / "m.csv"
    path.write_text("path,votes,n_reviewers,split,patient\na.png,3,3,train,p\nb.png,,,,p\nc.png,0,1,train,q\n", "utf-8")

    with pytest.raises(UsageError, match="line 3: "):
        read_manifest(path)
    found = read_manifest(path, with_unlabelled=True)

    assert [(photo.votes, photo.n_votes, photo.split) for photo in found.photos] == [
        (3, 3, Split.TRAIN),
        (0, 0, None),
        (0, 1, Split.TRAIN),
    ]
    write_manifest(found, tmp_path / "again.csv")
    assert read_manifest(tmp_path / "again.csv", with_unlabelled=True).photos == found.photos
