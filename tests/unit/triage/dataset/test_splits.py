from collections import Counter, defaultdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triage.dataset.manifest import LabelledPhoto, Manifest, Split, read_manifest, write_manifest
from triage.dataset.splits import SHARES, split_photos, write_splits
from triage.errors import UsageError

PAPER_VOTES = (177, 147, 183, 279, 414)
"""Photos of the paper by number of votes, all splits together."""


def _manifest(votes: list[int], patients: list[str | None] | None = None) -> Manifest:
    known = patients or [None] * len(votes)
    photos = (LabelledPhoto(Path(f"{i}.png"), v, patient=p) for i, (v, p) in enumerate(zip(votes, known, strict=True)))
    return Manifest(tuple(photos), 4)


def _sizes(manifest: Manifest) -> dict[Split, int]:
    return {split: len(manifest.of(split)) for split in Split}


_photos = st.lists(st.tuples(st.integers(0, 4), st.sampled_from([None, "a", "b", "c", "d"])), min_size=1, max_size=60)


@given(_photos, st.integers(0, 99))
def test_all_photos_are_kept_and_each_patient_is_in_one_split(photos: list[tuple[int, str | None]], seed: int) -> None:
    manifest = _manifest([votes for votes, _ in photos], [patient for _, patient in photos])

    split = split_photos(manifest, seed=seed)

    assert [photo.path for photo in split.photos] == [photo.path for photo in manifest.photos]
    assert [photo.votes for photo in split.photos] == [photo.votes for photo in manifest.photos]
    assert all(photo.split in set(Split) for photo in split.photos)
    sides = defaultdict(set)
    for photo in split.photos:
        if photo.patient is not None:
            sides[photo.patient].add(photo.split)
    assert all(len(of_patient) == 1 for of_patient in sides.values())


@given(st.lists(st.integers(0, 4), min_size=1, max_size=200), st.integers(0, 99))
def test_each_number_of_votes_has_its_shares_when_no_patient_has_several_photos(votes: list[int], seed: int) -> None:
    split = split_photos(_manifest(votes), seed=seed)

    totals = Counter(votes)
    for side, share in zip(Split, SHARES, strict=True):
        counts = Counter(photo.votes for photo in split.of(side))
        assert all(abs(counts[number] - share * n) <= 1 for number, n in totals.items())


def test_splits_have_the_papers_sizes_when_there_are_as_many_photos() -> None:
    votes = [number for number, n in enumerate(PAPER_VOTES) for _ in range(n)]

    sizes = _sizes(split_photos(_manifest(votes)))

    assert sum(sizes.values()) == 1200
    assert all(abs(sizes[side] - size) <= 5 for side, size in zip(Split, (900, 120, 180), strict=True))


def test_splits_have_similar_votes_when_each_patient_has_several_photos() -> None:
    votes = [number for number, n in enumerate(PAPER_VOTES) for _ in range(n)]
    patients: list[str | None] = [f"p{i * 7919 % 400}" for i in range(len(votes))]

    split = split_photos(_manifest(votes, patients), seed=3)

    assert max(Counter(patients).values()) == 3
    for side, share in zip(Split, SHARES, strict=True):
        counts = Counter(photo.votes for photo in split.of(side))
        assert all(abs(counts[number] - share * n) <= 5 for number, n in enumerate(PAPER_VOTES))


def test_split_is_the_same_when_the_seed_is() -> None:
    manifest = _manifest([0, 1, 2, 3, 4] * 20)

    assert split_photos(manifest, seed=1) == split_photos(manifest, seed=1)
    assert split_photos(manifest, seed=1) != split_photos(manifest, seed=2)


def test_split_is_kept_when_the_manifest_has_one() -> None:
    photos = tuple(LabelledPhoto(Path(f"{i}.png"), 1, split=Split.TEST) for i in range(10))

    assert split_photos(Manifest(photos, 4)) == Manifest(photos, 4)


@pytest.mark.parametrize(("shares", "side"), [((1, 0, 0), Split.TRAIN), ((0, 0, 1), Split.TEST)])
def test_all_photos_are_in_one_split_when_it_has_the_whole_share(shares: tuple[float, ...], side: Split) -> None:
    split = split_photos(_manifest([0, 1, 2, 3, 4] * 4), shares=shares)

    assert len(split.of(side)) == 20


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A manifest of twelve photos without splits."""
    for number in range(12):
        (tmp_path / f"{number}.png").touch()
    rows = [f"{number}.png,{number % 5},p-{number // 2}" for number in range(12)]
    (tmp_path / "m.csv").write_text("\n".join(["path,votes,patient", *rows]), encoding="utf-8")
    return tmp_path / "m.csv"


def test_splits_are_written_beside_the_manifest_and_stay_when_they_are_the_same(written: Path) -> None:
    manifest = read_manifest(written)

    made = write_splits(written, manifest, None, seed=0)
    before = made.stat().st_mtime_ns

    assert made == written.with_name("m.split.csv")
    expected = split_photos(manifest, seed=0).photos
    assert [photo.split for photo in read_manifest(made).photos] == [photo.split for photo in expected]
    assert write_splits(written, manifest, None, seed=0) == made
    assert made.stat().st_mtime_ns == before
    with pytest.raises(UsageError, match="exists with other splits or photos: train with it, or name another file"):
        write_splits(written, manifest, None, seed=1)
    elsewhere = written.parent / "other.csv"
    assert write_splits(written, manifest, elsewhere, seed=1) == elsewhere


def test_manifest_is_used_as_it_is_when_it_has_splits(written: Path) -> None:
    write_manifest(split_photos(read_manifest(written)), written)

    assert write_splits(written, read_manifest(written), None, seed=0) == written
    assert not written.with_name("m.split.csv").exists()
    with pytest.raises(UsageError, match="the photos have splits"):
        write_splits(written, read_manifest(written), written.with_name("other.csv"), seed=0)


def test_error_is_one_line_when_the_splits_cannot_be_written(written: Path) -> None:
    with pytest.raises(UsageError, match="cannot be written"):
        write_splits(written, read_manifest(written), written / "below-a-file.csv", seed=0)
