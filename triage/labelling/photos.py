"""The photos that may be labelled next, and the table for those who label them."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from triage.dataset.manifest import LabelledPhoto, Manifest, read_manifest, write_manifest
from triage.errors import UsageError
from triage.files.kinds import is_file


def read_photos(manifest: Path | None, folder: Path | None) -> Manifest:
    """The photos of a manifest, with or without votes, and those of a folder that are not in it.

    Raises:
        UsageError: neither is given, the manifest is invalid, or the folder cannot be listed or has no files.
    """
    if manifest is None and folder is None:
        raise UsageError("no photos: give a manifest, or a folder of photos")
    known = Manifest((), 1) if manifest is None else read_manifest(manifest, with_unlabelled=True)
    if folder is None:
        return known
    paths = {photo.path.resolve() for photo in known.photos}
    unrated = (None,) * len(known.reviewers)
    added = [LabelledPhoto(path, 0, unrated, n_votes=0) for path in _files(folder) if path.resolve() not in paths]
    return replace(known, photos=(*known.photos, *added))


def write_photos(manifest: Manifest, chosen: Sequence[LabelledPhoto], path: Path, *, seed: int = 0) -> None:
    """Writes chosen photos as a manifest to fill in, in a random order and without scores: reviewers vote blind.

    Raises:
        UsageError: the file cannot be written.
    """
    order = np.random.default_rng(seed).permutation(len(chosen))
    write_manifest(replace(manifest, photos=[chosen[index] for index in order]), path)


def _files(folder: Path) -> list[Path]:
    try:
        files = sorted(path for path in folder.iterdir() if not path.name.startswith(".") and is_file(path))
    except (OSError, ValueError) as error:
        raise UsageError(f"{folder}: no such folder of photos") from error
    if not files:
        raise UsageError(f"{folder}: the folder has no files: name a folder with photos")
    return files
