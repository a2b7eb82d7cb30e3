"""The split into training, validation and test photos: alike in votes, and no patient on two sides."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from triage.dataset.manifest import LabelledPhoto, Manifest, Split

SHARES: Final = (0.75, 0.10, 0.15)
"""Of training, validation and test photos, as in the paper."""


def split_photos(manifest: Manifest, *, seed: int = 0, shares: Sequence[float] = SHARES) -> Manifest:
    """Gives every photo a split. A manifest that has one keeps it.

    Patients, or photos whose patient is not known, are dealt out one after another in a random order, those with most
    photos first; each goes where its votes are wanted most. So the shares hold for each number of votes, up to one
    photo where no patient has several.
    """
    if all(photo.split for photo in manifest.photos):
        return manifest
    members: dict[object, list[LabelledPhoto]] = defaultdict(list)
    for index, photo in enumerate(manifest.photos):
        members[photo.patient if photo.patient is not None else index].append(photo)
    order = np.random.default_rng(seed).permutation(len(members))
    groups = [list(members.values())[i] for i in order]
    groups.sort(key=len, reverse=True)  # stable: random among those of one size
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


def _want(wanted: dict[int, float], votes: Counter[int]) -> float:
    """How much a split lacks of these votes: the mean over the photos, so that large patients count no more."""
    return sum(wanted[vote] * n for vote, n in votes.items()) / votes.total()
