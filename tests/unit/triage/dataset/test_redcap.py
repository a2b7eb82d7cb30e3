from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from triage.dataset.manifest import Box, Manifest
from triage.dataset.redcap import import_redcap
from triage.errors import UsageError

Import = Callable[..., Manifest]
HEADER = "record_id,redcap_repeat_instrument,redcap_repeat_instance,reviewer,quality"


@pytest.fixture
def importing(tmp_path: Path) -> Import:
    """Imports an export of these lines; the photos 1.png, 2.png and 3.jpg are there."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("1.png", "2.png", "3.jpg"):
        Image.new("RGB", (70, 70)).save(folder / name)

    def run(*lines: str, **columns: str) -> Manifest:
        (tmp_path / "export.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        return import_redcap(tmp_path / "export.csv", photos=folder, **columns)

    return run


def test_rows_of_a_record_become_one_photo_when_several_reviewers_voted(importing: Import) -> None:
    manifest = importing(HEADER, "1,votes,1,bo,0", "1,votes,2,ann,1", "2,votes,1,ann,1", "2,votes,2,bo,1")

    assert manifest.reviewers == ("ann", "bo")
    assert manifest.n_reviewers == 2
    assert [(photo.path.name, photo.reviews, photo.votes) for photo in manifest.photos] == [
        ("1.png", (1, 0), 1),
        ("2.png", (1, 1), 2),
    ]
    assert all(photo.path.is_file() for photo in manifest.photos)


@pytest.mark.parametrize(
    ("label", "review"),
    [("1", 1), ("0", 0), ("Yes", 1), ("no", 0), ("Checked", 1), ("Unchecked", 0), ("YES", 1)],
)
def test_vote_is_understood_when_it_is_a_redcap_label(importing: Import, label: str, review: int) -> None:
    [photo] = importing(HEADER, f"1,,,ann,{label}").photos

    assert photo.reviews == (review,)


def test_votes_are_scaled_when_a_reviewer_left_a_record_out(importing: Import) -> None:
    lines = [HEADER, "1,,1,ann,1", "1,,2,bo,", "2,,1,ann,0", "2,,2,bo,1"]

    first, second = importing(*lines).photos

    assert (first.reviews, first.votes) == ((1, None), 2)
    assert (second.reviews, second.votes) == ((0, 1), 1)


def test_properties_of_a_record_come_from_its_first_row_that_has_them(importing: Import) -> None:
    header = f"{HEADER},source,fitzpatrick,patient,box_left,box_top,box_right,box_bottom"
    lines = ["1,,,,,PCP,5,p-7,1,2,30,40", "1,votes,1,ann,1,,,,,,,", "2,votes,1,ann,0,,,,,,,"]

    known, unknown = importing(header, *lines).photos

    assert (known.source, known.fitzpatrick, known.patient, known.box) == ("PCP", "V", "p-7", Box(1, 2, 30, 40))
    assert (unknown.source, unknown.fitzpatrick, unknown.patient, unknown.box) == (None,) * 4


def test_columns_may_have_other_names_when_they_are_given(importing: Import) -> None:
    [photo] = importing(
        "study,who,ok,file",
        "x-1,ann,yes,3.jpg",
        record_column="study",
        reviewer_column="who",
        vote_column="ok",
        photo_column="file",
    ).photos

    assert (photo.path.name, photo.votes) == ("3.jpg", 1)


def test_vote_counts_once_when_a_reviewer_gave_it_twice(importing: Import) -> None:
    [photo] = importing(HEADER, "1,,1,ann,1", "1,,2,ann,yes").photos

    assert (photo.reviews, photo.votes) == ((1,), 1)


def test_error_names_each_defect_with_its_line(importing: Import) -> None:
    lines = ["1,,1,ann,1", "1,,2,ann,0", "2,,1,ann,perhaps", "2,,2,bo,1", "9,,1,ann,1", "3,,1,,1", ",,1,ann,1"]

    with pytest.raises(UsageError) as raised:
        importing(HEADER, *lines)

    said = str(raised.value)
    for defect in (
        "line 3: this reviewer has another vote",
        "line 4: a vote must be",
        "line 6: the folder of photos has 0 files",
        "line 7: a vote without a reviewer",
        "line 8: no record",
    ):
        assert defect in said
    assert "perhaps" not in said
    assert "ann" not in said


def test_export_is_refused_when_a_record_has_two_files(importing: Import, tmp_path: Path) -> None:
    Image.new("RGB", (70, 70)).save(tmp_path / "photos" / "1.jpg")

    with pytest.raises(UsageError, match="line 2: the folder of photos has 2 files"):
        importing(HEADER, "1,,1,ann,1")


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (["record_id,reviewer", "1,ann"], "lacks the column quality"),
        (["study", "1"], "lacks the column record_id, reviewer, quality"),
        ([HEADER], "no rows"),
        ([HEADER, "1,,1,ann,"], "line 2: no reviewer has voted"),
    ],
)
def test_export_is_refused_when_columns_or_rows_are_missing(importing: Import, lines: list[str], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        importing(*lines)


def test_export_is_refused_when_the_folder_of_photos_is_missing(tmp_path: Path) -> None:
    (tmp_path / "export.csv").write_text(f"{HEADER}\n1,,1,ann,1\n")

    with pytest.raises(UsageError, match="no such folder of photos"):
        import_redcap(tmp_path / "export.csv", photos=tmp_path / "nowhere")
