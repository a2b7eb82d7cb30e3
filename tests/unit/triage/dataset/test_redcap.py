from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from triage.dataset.manifest import MAX_REVIEWERS, Box, Manifest, read_manifest, write_manifest
from triage.dataset.redcap import Export, import_redcap
from triage.dataset.redcap_records import Unused
from triage.dataset.splits import split_photos
from triage.dataset.tables import write_table
from triage.domain.states import FindingKind
from triage.errors import UsageError

Import = Callable[..., Manifest]
Read = Callable[..., Export]
HEADER = "record_id,redcap_repeat_instrument,redcap_repeat_instance,reviewer,quality"


@pytest.fixture
def reading(tmp_path: Path) -> Read:
    """Imports an export of these lines; the photos 1.png, 2.png, 3.jpg and a.jpg to d.jpg are there."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("1.png", "2.png", "3.jpg", "a.jpg", "b.jpg", "c.jpg", "d.jpg"):
        Image.new("RGB", (70, 70)).save(folder / name)

    def run(*lines: str, **options: Any) -> Export:
        (tmp_path / "export.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        return import_redcap(tmp_path / "export.csv", photos=folder, **options)

    return run


@pytest.fixture
def importing(reading: Read) -> Import:
    """The manifest of an import."""
    return lambda *lines, **options: reading(*lines, **options).manifest


def _defects(read: Import | Read, *lines: str, **options: Any) -> str:
    with pytest.raises(UsageError) as raised:
        read(*lines, **options)
    return str(raised.value)


def test_reasons_are_the_share_of_the_reviewers_who_checked_the_box(reading: Read, tmp_path: Path) -> None:
    found = reading(
        f"{HEADER},why___defocus,why___too_far,why___other",
        "1,votes,1,bo,0,1,,1",
        "1,votes,2,ann,0,0,,1",
        "2,votes,1,ann,1,unchecked,Checked,0",
        "2,votes,2,bo,,1,1,0",  # not rated: an unopened form has boxes too
        reason_column="why",
    )

    expected = [{FindingKind.DEFOCUS: 0.5}, {FindingKind.DEFOCUS: 0.0, FindingKind.TOO_FAR: 1.0}]
    assert [photo.reasons for photo in found.manifest.photos] == expected
    assert "why___defocus" in found.columns
    write_manifest(found.manifest, tmp_path / "manifest.csv")
    assert [photo.reasons for photo in read_manifest(tmp_path / "manifest.csv").photos] == expected


def test_export_is_refused_when_a_box_is_neither_checked_nor_unchecked(reading: Read) -> None:
    assert "line 2: reason___defocus must be 1 or 0" in _defects(
        reading, f"{HEADER},reason___defocus", "1,votes,1,bo,0,maybe"
    )


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


def test_votes_of_a_photo_are_its_own_when_a_reviewer_left_a_record_out(importing: Import) -> None:
    lines = [HEADER, "1,,1,ann,1", "1,,2,bo,", "2,,1,ann,0", "2,,2,bo,1"]

    first, second = importing(*lines).photos

    assert (first.reviews, first.votes, first.n_votes) == ((1, None), 1, 1)
    assert (second.reviews, second.votes, second.n_votes) == ((0, 1), 1, 2)


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


def test_vote_counts_once_when_the_export_repeats_a_row(reading: Read) -> None:
    """vubiostat/redcapAPI#262: exports in batches repeat the rows of a record with several instances."""
    export = reading(HEADER, "1,,1,ann,1", "1,,1,ann,yes")

    assert [(photo.reviews, photo.votes) for photo in export.manifest.photos] == [((1,), 1)]
    assert export.unused_rows == {Unused.REPEATED: 1}


REPEATING = "record_id,redcap_repeat_instrument,redcap_repeat_instance,reviewer,photo_file,quality"


@pytest.mark.parametrize("differing", ["0", "1"])
def test_instances_are_photos_of_one_patient_when_they_name_different_files(importing: Import, differing: str) -> None:
    """vubiostat/redcapAPI#44: rows of repeating instruments are more than the rows of their records."""
    lines = [
        *("1,,,,,", "1,review,1,A,a.jpg,1", f"1,review,2,A,b.jpg,{differing}"),
        *("1,review,3,B,a.jpg,0", "1,review,4,B,b.jpg,1", "2,review,1,A,c.jpg,1"),
    ]

    manifest = importing(REPEATING, *lines, photo_column="photo_file")

    assert manifest.reviewers == ("A", "B")
    assert [(photo.path.name, photo.patient, photo.reviews) for photo in manifest.photos] == [
        ("a.jpg", "1", (1, 0)),
        ("b.jpg", "1", (int(differing), 1)),
        ("c.jpg", "2", (1, None)),
    ]
    for seed in range(20):
        first, second, _ = split_photos(manifest, seed=seed).photos
        assert first.split is second.split


def test_instances_are_reviewers_when_they_name_the_same_file(importing: Import) -> None:
    lines = ["1,review,1,A,a.jpg,1", "1,review,2,B,a.jpg,0", "1,review,3,C,./a.jpg,1"]

    [photo] = importing(REPEATING, *lines, photo_column="photo_file").photos

    assert photo.reviews == (1, 0, 1)


def test_votes_without_a_file_name_are_on_the_only_photo_of_the_record(importing: Import) -> None:
    lines = ["1,,,,a.jpg,", "1,review,1,A,,1", "1,review,2,B,,0"]

    [photo] = importing(REPEATING, *lines, photo_column="photo_file").photos

    assert (photo.path.name, photo.reviews) == ("a.jpg", (1, 0))
    assert "line 4: a vote without a photo: the record names 2 photos" in _defects(
        importing, REPEATING, "1,,,A,a.jpg,1", "1,,,A,b.jpg,1", "1,,,B,,1", photo_column="photo_file"
    )


def test_reviews_without_a_file_name_are_on_the_only_photo_of_their_event(importing: Import) -> None:
    """CHOP-CGTInformatics/REDCapTidieR#200: rows of longitudinal projects are identified by their event, too."""
    header = "record_id,redcap_event_name,redcap_repeat_instance,reviewer,photo_file,quality,fitzpatrick"
    lines = [
        *("1,baseline_arm_1,,,a.jpg,,", "1,baseline_arm_1,1,A,,1,", "1,baseline_arm_1,2,B,,0,"),
        *("1,month_3_arm_1,,,b.jpg,,", "1,month_3_arm_1,1,A,,0,", "1,baseline_arm_1,,,,,5"),
    ]

    manifest = importing(header, *lines, photo_column="photo_file")

    assert [(photo.path.name, photo.patient, photo.fitzpatrick, photo.reviews) for photo in manifest.photos] == [
        ("a.jpg", "1", "V", (1, 0)),
        ("b.jpg", "1", "V", (0, None)),
    ]


@pytest.mark.parametrize(
    "instances",
    [
        ("redcap_repeat_instrument,redcap_repeat_instance", "review,1", "review,2"),
        ("redcap_event_name,redcap_repeat_instance", "visit_arm_1,1", "visit_arm_1,2"),
        ("Event Name,Repeat Instance", "Baseline,", "Follow-up,"),
    ],
)
@pytest.mark.parametrize("second", ["0", "1"])
def test_export_is_refused_when_instances_could_be_photos_but_no_column_names_them(
    importing: Import, instances: tuple[str, str, str], second: str
) -> None:
    """CHOP-CGTInformatics/REDCapTidieR#120: events repeat, too, with an empty `redcap_repeat_instrument`."""
    header, one, two = instances

    said = _defects(importing, f"record_id,{header},reviewer,quality", f"1,{one},A,1", f"1,{two},A,{second}")

    assert "line 3: this reviewer has another vote on the same record: if its instances are different photos" in said


def test_properties_of_a_record_describe_all_its_photos_when_it_has_several(importing: Import) -> None:
    header = f"{REPEATING},fitzpatrick,patient,source"
    lines = ["1,,,,,,4,p-1,clinic", "1,review,1,A,a.jpg,1,,,home", "1,review,2,A,b.jpg,1,,,"]

    first, second = importing(header, *lines, photo_column="photo_file").photos

    assert (first.fitzpatrick, first.patient, first.source) == ("IV", "p-1", "home")
    assert (second.fitzpatrick, second.patient, second.source) == ("IV", "p-1", "clinic")


def test_rows_that_differ_in_a_property_are_counted(reading: Read) -> None:
    header = "record_id,reviewer,quality,fitzpatrick,patient"

    export = reading(header, "1,A,1,III,", "1,B,1,4,", "2,A,1,3,", "2,B,1,iii,")

    assert [photo.fitzpatrick for photo in export.manifest.photos] == ["III", "III"]
    assert export.ambiguous == {"fitzpatrick": 1}
    assert "line 2: the rows of this photo name several patients" in _defects(reading, header, "1,A,1,,p", "1,B,1,,q")


def test_every_row_is_accounted_for_when_some_have_no_vote(reading: Read) -> None:
    """CHOP-CGTInformatics/REDCapTidieR#136: exports have rows of instances that nobody filled in."""
    lines = ["1,,,,", "1,review,1,A,1", "1,review,2,B,", "2,,,,", "2,review,1,A,NI", "2,review,2,B,-99", "9,,,,"]

    export = reading(HEADER, *lines, missing={"NI", "-99"})

    assert [photo.path.name for photo in export.manifest.photos] == ["1.png"]
    assert export.n_rows == 7 == 1 + sum(export.unused_rows.values())
    assert export.unused_rows == {Unused.NO_REVIEW: 3, Unused.NOT_RATED: 1, Unused.MISSING: 2}
    assert (export.n_unrated, export.n_other_files) == (2, 5)  # 2.png is in the export, without a vote
    assert export.columns == HEADER.split(",")


def test_codes_for_missing_data_are_empty_cells_in_every_column(importing: Import) -> None:
    """CHOP-CGTInformatics/REDCapTidieR#181, vubiostat/redcapAPI#137: projects define their own codes."""
    header = "record_id,reviewer,quality,fitzpatrick,source,box_left,box_top,box_right,box_bottom"

    [photo] = importing(header, "1,A,1,UNK,UNK,-99,-99,-99,-99", "1,B,UNK,,,,,,", missing={"UNK", "-99"}).photos

    assert (photo.reviews, photo.fitzpatrick, photo.source, photo.box) == ((1,), None, None, None)
    assert "line 2: a vote must be" in _defects(importing, header, "1,A,UNK,,,,,,")
    assert "must not also be a vote" in _defects(importing, header, "1,A,1,,,,,,", missing={"No"})


def test_columns_that_are_not_used_may_share_a_name(importing: Import) -> None:
    """OuhscBbmc/REDCapR#586: names repeat in exports with labels, such as `Complete?` of every form."""
    names = {"record_column": "Record ID", "reviewer_column": "Reviewer", "vote_column": "Good, or not?"}
    header = '"Record ID","Repeat Instrument",Reviewer,"Good, or not?",Complete?,Comment,Complete?'

    [photo] = importing(header, "1,,Dr. A,Yes,Complete,x,Incomplete", "1,,Dr. B,No,,,", **names).photos

    assert photo.reviews == (1, 0)
    assert "two columns have the same name, 'Reviewer'" in _defects(
        importing, header.replace("Comment", "Reviewer"), "1,,A,Yes,,,", **names
    )


@pytest.mark.parametrize("delimiter", [";", "\t", "|", "^"])
def test_delimiter_is_found_when_it_is_not_a_comma(importing: Import, delimiter: str) -> None:
    """OuhscBbmc/REDCapR#570, #622: a server's default delimiter can be any that REDCap offers."""
    header = delimiter.join(("record_id", "reviewer", "quality", '"note, with, many, commas"'))

    manifest = importing(header, *(line.replace(",", delimiter) for line in ("1,A,1,", "1,B,0,", "2,A,1,")))

    assert [photo.reviews for photo in manifest.photos] == [(1, 0), (1, None)]


@pytest.mark.parametrize(
    "name", ["/etc/hostname", "../photos/a.jpg", "x/../../a.jpg", "..\\a.jpg", "x\\a.jpg", "C:\\a.jpg", "link.jpg"]
)
def test_photo_is_refused_when_its_name_leads_out_of_the_folder(importing: Import, tmp_path: Path, name: str) -> None:
    Image.new("RGB", (70, 70)).save(tmp_path / "outside.jpg")
    (tmp_path / "photos" / "link.jpg").symlink_to(tmp_path / "outside.jpg")
    (tmp_path / "photos" / "3.png").symlink_to(tmp_path / "outside.jpg")
    (tmp_path / "photos" / "3.jpg").unlink()

    said = _defects(importing, "record_id,reviewer,quality,file", f"1,A,1,{name}", photo_column="file")

    assert "below the folder of photos" in said or "a link out of the folder" in said
    assert "a link out of the folder" in _defects(importing, HEADER, "3,,,A,1")


def test_photo_may_lie_in_a_subfolder_or_be_a_link_inside_the_folder(importing: Import, tmp_path: Path) -> None:
    (tmp_path / "photos" / "visit 1").mkdir()
    (tmp_path / "photos" / "a.jpg").rename(tmp_path / "photos" / "visit 1" / "a.jpg")
    (tmp_path / "photos" / "link.jpg").symlink_to("b.jpg")

    header, lines = "record_id,reviewer,quality,file", ["1,A,1,visit 1/a.jpg", "2,A,1,link.jpg"]
    manifest = importing(header, *lines, photo_column="file")

    assert [photo.path.is_file() for photo in manifest.photos] == [True, True]
    assert "another photo of the export is the same file" in _defects(
        importing, header, *lines, "3,A,1,b.jpg", photo_column="file"
    )


def test_error_names_the_placeholder_of_an_uploaded_file(importing: Import) -> None:
    """redcap-tools/PyCap#46: the cell of a file upload field is `[document]`, not the file's name."""
    said = _defects(importing, "record_id,reviewer,quality,file", "1,A,1,[document]", photo_column="file")

    assert "line 2: [document] stands for an uploaded file" in said


def test_file_is_found_when_its_name_is_spelled_in_another_unicode_form(importing: Import, tmp_path: Path) -> None:
    for decomposed in ("Jose\u0301.jpg", "Ame\u0301lie.jpg"):
        Image.new("RGB", (70, 70)).save(tmp_path / "photos" / decomposed)

    [by_record] = importing(HEADER, "Jos\u00e9,,,A,1").photos
    [by_name] = importing("record_id,reviewer,quality,f", "1,A,1,Am\u00e9lie.jpg", photo_column="f").photos

    assert by_record.path.is_file()
    assert by_name.path.is_file()


@pytest.mark.parametrize("n", [MAX_REVIEWERS, MAX_REVIEWERS + 1])
def test_import_has_the_limits_of_a_manifest(importing: Import, tmp_path: Path, n: int) -> None:
    lines = [HEADER, *(f"1,,,reviewer {number},1" for number in range(n))]
    if n > MAX_REVIEWERS:
        assert "33 reviewers: a manifest holds at most 32" in _defects(importing, *lines)
    else:
        write_manifest(importing(*lines), tmp_path / "made.csv")
        assert read_manifest(tmp_path / "made.csv").n_reviewers == n


NAMES = st.text(
    st.one_of(st.sampled_from("'=+-@ ,;\"1ä"), st.characters(codec="utf-8", exclude_categories=["C", "Zl", "Zp"])),
    min_size=1,
    max_size=20,
).filter(lambda name: name.strip() and not name.isspace())


@given(st.lists(NAMES, min_size=1, max_size=4), NAMES)
def test_manifest_is_read_as_it_was_imported(
    tmp_path_factory: pytest.TempPathFactory, reviewers: list[str], name: str
) -> None:
    folder = tmp_path_factory.mktemp("import")
    Image.new("RGB", (70, 70)).save(folder / "1.png")
    rows = [{"record_id": "1", "reviewer": each, "quality": "1", "source": name, "patient": name} for each in reviewers]
    write_table(folder / "export.csv", rows)

    made = import_redcap(folder / "export.csv", photos=folder).manifest
    write_manifest(made, folder / "made.csv")
    [photo] = read_manifest(folder / "made.csv").photos

    assert read_manifest(folder / "made.csv").reviewers == made.reviewers
    assert (photo.reviews, photo.source, photo.patient) == (
        made.photos[0].reviews,
        made.photos[0].source,
        made.photos[0].patient,
    )


def test_error_names_each_defect_with_its_line(importing: Import) -> None:
    lines = ["1,,1,ann,1", "1,,1,ann,0", "2,,1,ann,perhaps", "2,,2,bo,1", "9,,1,ann,1", "3,,1,,1", ",,1,ann,1"]

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
    assert said.count("'perhaps'") == 1
    assert "ann" not in said


def test_error_names_a_defect_once_when_many_lines_have_it(importing: Import) -> None:
    said = _defects(importing, HEADER, *("1,,,ann,perhaps" for _ in range(12)))

    assert said.endswith(
        "lines 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 and 2 more: a vote must be 1 or 0, yes or no, checked or unchecked, "
        "empty, or a given code for missing data, not 'perhaps'"
    )


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
        ([HEADER, "1,,1,ann,"], "no reviewer has voted"),
    ],
)
def test_export_is_refused_when_columns_or_rows_are_missing(importing: Import, lines: list[str], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        importing(*lines)


def test_export_is_refused_when_the_folder_of_photos_is_missing(tmp_path: Path) -> None:
    (tmp_path / "export.csv").write_text(f"{HEADER}\n1,,1,ann,1\n")

    with pytest.raises(UsageError, match="no such folder of photos"):
        import_redcap(tmp_path / "export.csv", photos=tmp_path / "nowhere")
