"""The photos that may be labelled next, and the table for reviewers."""

from pathlib import Path

import pytest

from triage.dataset.manifest import read_manifest
from triage.errors import UsageError
from triage.labelling.photos import read_photos, write_photos


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(30):
        (tmp_path / f"{number}.png").touch()
    return tmp_path


def test_photos_of_the_folder_are_added_when_the_manifest_lacks_them(folder: Path, tmp_path: Path) -> None:
    (folder / ".hidden").touch()
    manifest = tmp_path / "labels" / "manifest.csv"
    manifest.parent.mkdir()
    manifest.write_text("path,reviewer_ann,reviewer_bo\n../0.png,1,0\n../1.png,,1\n../2.png,,\n", encoding="utf-8")

    found = read_photos(manifest, folder)

    assert len(found.photos) == 30
    assert [photo.n_votes for photo in found.photos[:5]] == [2, 1, 0, 0, 0]
    assert found.n_reviewers == 2


def test_manifest_to_fill_in_can_be_read_again_when_reviewers_have_voted(folder: Path) -> None:
    (folder / "m.csv").write_text(
        "path,reviewer_ann,patient,site\n0.png,1,p-1,a\n" + "".join(f"{n}.png,,p-{n},b\n" for n in range(1, 30)),
        encoding="utf-8",
    )
    found = read_photos(folder / "m.csv", None)

    write_photos(found, found.photos[1:], folder / "next.csv")

    text = (folder / "next.csv").read_text(encoding="utf-8")
    again = read_manifest(folder / "next.csv", with_unlabelled=True)
    assert {photo.path.name for photo in again.photos} == {f"{n}.png" for n in range(1, 30)}
    assert [photo.path for photo in again.photos] != [photo.path for photo in found.photos[1:]]  # in a random order
    assert again.photos[0].patient == f"p-{again.photos[0].path.stem}"
    assert again.photos[0].others == {"site": "b"}
    (folder / "voted.csv").write_text(text.replace(".png,,", ".png,1,"), encoding="utf-8")
    assert {photo.votes for photo in read_manifest(folder / "voted.csv").photos} == {1}


def test_folder_alone_gives_empty_votes_to_fill_in(folder: Path) -> None:
    found = read_photos(None, folder)

    write_photos(found, found.photos[:2], folder / "next.csv")

    header, *rows = (folder / "next.csv").read_text(encoding="utf-8").splitlines()
    assert header.startswith("path,votes,n_reviewers,")
    assert all(row.split(",")[1:3] == ["", ""] for row in rows)


def test_missing_photos_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()

    with pytest.raises(UsageError, match="no photos"):
        read_photos(None, None)
    with pytest.raises(UsageError, match="no such folder"):
        read_photos(None, tmp_path / "missing")
    with pytest.raises(UsageError, match="no files"):
        read_photos(None, tmp_path / "empty")
