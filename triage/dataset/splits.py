"""The split into training, validation and test photos, stratified by votes, with each patient in one split."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from triage.dataset.manifest import LabelledPhoto, Manifest, Split, read_manifest, write_manifest
from triage.domain.promotion import FEWEST_OF_A_CLASS
from triage.errors import UsageError

SHARES: Final = (0.75, 0.10, 0.15)
"""The shares of training, validation and test photos in the paper (doi:10.1016/j.xjidi.2024.100285)."""


def split_photos(manifest: Manifest, *, seed: int = 0, shares: Sequence[float] = SHARES) -> Manifest:
    """Assigns each photo to a split. A manifest with splits is returned unchanged.

    Patients (or single photos without a patient) are assigned one after another in a random order, those with most
    photos first, each to the split that lacks most of its votes. So the shares hold for each number of votes, up to
    one photo if no patient has several.

    Args:
        manifest: with splits for all photos or for none.
        seed: the same seed gives the same splits.
        shares: of the three splits; their sum is 1.
    """
    if all(photo.split for photo in manifest.photos):
        return manifest
    members: dict[object, list[LabelledPhoto]] = defaultdict(list)
    for index, photo in enumerate(manifest.photos):
        members[photo.patient if photo.patient is not None else index].append(photo)
    order = np.random.default_rng(seed).permutation(len(members))
    groups = [list(members.values())[i] for i in order]
    groups.sort(key=len, reverse=True)  # stable: still random among groups of one size
    totals = Counter(photo.votes for photo in manifest.photos)
    wanted = {split: {v: n * share for v, n in totals.items()} for split, share in zip(Split, shares, strict=True)}
    split_of: dict[int, Split] = {}
    for group in groups:
        votes = Counter(photo.votes for photo in group)
        chosen = max(Split, key=lambda split: _want(wanted[split], votes))
        for vote, n in votes.items():
            wanted[chosen][vote] -= n
        split_of |= {id(photo): chosen for photo in group}
    photos = tuple(replace(photo, split=split_of[id(photo)]) for photo in manifest.photos)
    return replace(manifest, photos=photos)


def write_splits(path: Path, manifest: Manifest, output: Path | None, *, seed: int) -> Path:
    """Writes a manifest with the splits that `split_photos` gives, unless the photos have splits.

    A file with the same splits stays as it is, so that a second call has no effect.

    Args:
        path: of the manifest.
        manifest: as read from there.
        output: the file; by default `NAME.split.csv` beside `NAME.csv`.
        seed: of the splits.

    Returns:
        The manifest that has the splits: the file written, or `path`.

    Raises:
        UsageError: the file cannot be written or has other splits, or it is given although the photos have splits.
    """
    if all(photo.split for photo in manifest.photos):
        if output is not None:
            raise UsageError(f"{path}: the photos have splits: leave out the file for them")
        return path
    target = output or path.with_name(f"{path.stem}.split{path.suffix}")
    made = split_photos(manifest, seed=seed)
    if not target.exists():
        write_manifest(made, target)
    elif _splits_of(read_manifest(target)) != _splits_of(made):
        raise UsageError(f"{target} exists with other splits or photos: train with it, or name another file")
    return target


def _splits_of(manifest: Manifest) -> set[tuple[Path, int, int, Split | None]]:
    return {
        (photo.path.resolve(), photo.votes, photo.n_votes or manifest.n_reviewers, photo.split)
        for photo in manifest.photos
    }


def small_parts(manifest: Manifest, *, good_votes: int) -> dict[Split, tuple[int, int]]:
    """The numbers of good and bad photos for validation and test, if there are fewer than 20 of a class.

    A threshold that is chosen on fewer, or rates that are measured on them, are chance.
    """
    found = {}
    for split in (Split.VALIDATION, Split.TEST):
        photos = manifest.of(split)
        n_good = sum(photo.is_good(good_votes, manifest.n_reviewers) for photo in photos)
        if min(n_good, len(photos) - n_good) < FEWEST_OF_A_CLASS:
            found[split] = (n_good, len(photos) - n_good)
    return found


def without_splits(manifest: Manifest) -> Manifest:
    """The photos without the splits that they have."""
    return replace(manifest, photos=tuple(replace(photo, split=None) for photo in manifest.photos))


def _want(wanted: dict[int, float], votes: Counter[int]) -> float:
    """How many photos with these votes a split lacks: the mean over the photos, so that size has no effect."""
    return sum(wanted[vote] * n for vote, n in votes.items()) / votes.total()
