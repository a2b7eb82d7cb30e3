from pathlib import Path

import pytest

from triage.errors import UsageError
from triage.training.manifest import Split, read_manifest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(b"photo")
    return tmp_path


def _write(folder: Path, text: str) -> Path:
    path = folder / "manifest.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_rows_become_labelled_photos(folder: Path) -> None:
    photos = read_manifest(_write(folder, "votes,path,split,note\n4,a.jpg,,x\n0,b.jpg,validation,y\n"))

    assert [(photo.path.name, photo.votes, photo.split) for photo in photos] == [
        ("a.jpg", 4, Split.TRAIN),
        ("b.jpg", 0, Split.VALIDATION),
    ]
    assert photos[0].path.is_file()


def test_spreadsheets_byte_order_mark_is_no_part_of_a_column(folder: Path) -> None:
    (folder / "manifest.csv").write_bytes("\ufeffpath,votes\na.jpg,1\n".encode())

    assert len(read_manifest(folder / "manifest.csv")) == 1


def test_every_defect_is_told_at_once_with_its_line(folder: Path) -> None:
    manifest = _write(folder, "path,votes,split\na.jpg,5,\nmissing.jpg,1,\n,1,\na.jpg,1,holdout\nb.jpg,2,\n")

    with pytest.raises(UsageError) as raised:
        read_manifest(manifest)

    for said in ("line 2: votes", "line 3: there is no file", "line 4: no path", "line 5: split"):
        assert said in str(raised.value)
    assert "line 6" not in str(raised.value)


def test_number_of_reviewers_bounds_the_votes(folder: Path) -> None:
    manifest = _write(folder, "path,votes\na.jpg,5\n")

    assert read_manifest(manifest, n_reviewers=5)[0].votes == 5
    with pytest.raises(UsageError, match="from 0 to 4"):
        read_manifest(manifest)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("path,score\na.jpg,1\n", "votes"),
        ("path,votes,split\na.jpg,1,test\n", "no photos to train on"),
        ("path,votes\n", "no photos to train on"),
    ],
)
def test_useless_manifest_says_why(folder: Path, text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        read_manifest(_write(folder, text))


def test_file_that_is_no_table_is_refused(folder: Path) -> None:
    (folder / "photo.csv").write_bytes(b"\xff\xd8\xff\xe0\x00\x10")

    for name in ("photo.csv", "missing.csv"):
        with pytest.raises(UsageError, match="cannot be read"):
            read_manifest(folder / name)
