from collections import Counter, defaultdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triage.dataset.manifest import LabelledPhoto, Manifest, Split
from triage.dataset.splits import SHARES, split_photos

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
