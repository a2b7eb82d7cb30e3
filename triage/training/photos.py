"""The photos of a training run: decoded once, stored on disk as the network takes them, read as tensors."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from triage.dataset.crop import crop
from triage.dataset.manifest import LabelledPhoto
from triage.errors import AttachmentError, TransientError
from triage.evaluation.predictions import levels_of
from triage.files.modes import opener
from triage.findings.rules import measure_findings
from triage.imaging.decode import Decoder
from triage.imaging.photo import DecodedPhoto
from triage.model.patches import PHOTO_SIDE, resize_photo
from triage.model.photo_hashes import hash_photo

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class PhotoSet:
    """Photos and their labels.

    Attributes:
        photos: uint8 (N, 3, 448, 448), RGB, upright. Mapped from a file, so that they need not fit into memory.
        labels: the manifest's rows, in the same order.
        measures: of each photo at its full resolution, for a reason head, as `triage.findings.rules.values_of`.
        hashes: of the photos' files, as `triage.model.photo_hashes.hash_photo`.
    """

    photos: Tensor
    labels: Sequence[LabelledPhoto]
    measures: Sequence[Mapping[str, float]] = ()
    hashes: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.labels)


def levels_of_labels(labels: Sequence[LabelledPhoto], n_reviewers: int) -> Tensor:
    """The targets of the K outputs: float32 (N, K), as `triage.dataset.votes.levels_of_votes`."""
    levels = levels_of([label.votes for label in labels], [label.n_votes for label in labels], n_reviewers)
    return torch.from_numpy(levels).float()


def load_photos(
    labels: Sequence[LabelledPhoto],
    cache: Path,
    decoder: Decoder,
    *,
    region_of_interest: bool = False,
    salt: str = "",
    threads: int = 1,
    on_photo: Callable[[int], None] = lambda _: None,
) -> tuple[PhotoSet, int]:
    """Decodes photos into one file, which may be deleted once the set is no longer used.

    Args:
        labels: the photos.
        cache: the file; replaced if it exists.
        decoder: for the photos.
        region_of_interest: crop each photo to its bounding box, if it has one.
        salt: of the hashes of the files.
        threads: photos prepared at the same time. Their number does not change the result.
        on_photo: called in this thread with the number of photos done.

    Returns:
        The photos, and the number of photos left out: they cannot be read, or their box lies outside.
    """
    if not labels:
        empty = torch.empty((0, 3, PHOTO_SIDE, PHOTO_SIDE), dtype=torch.uint8)
        return PhotoSet(empty, []), 0

    def prepare(row: int, into: NDArray[np.uint8]) -> tuple[Mapping[str, float], str] | None:
        read, box = _read(labels[row].path.read_bytes, decoder), labels[row].box
        if read is None:
            return None
        whole, data = read
        photo = crop(whole, box) if region_of_interest and box is not None else whole
        if photo is None:
            return None
        small = resize_photo(photo)
        into[:] = small.numpy()  # (3, 448, 448)
        return measure_findings(photo.upright, small.permute(1, 2, 0).numpy()).values, hash_photo(salt, data)

    photos, prepared = _fill(cache, len(labels), prepare, threads=threads, on_photo=on_photo)
    readable = [labels[row] for row in prepared]
    measures, hashes = [each for each, _ in prepared.values()], [digest for _, digest in prepared.values()]
    return PhotoSet(photos, readable, measures, hashes), len(labels) - len(readable)


def load_unlabelled(
    readers: Sequence[Callable[[], bytes]],
    cache: Path,
    decoder: Decoder,
    *,
    threads: int = 1,
    on_photo: Callable[[int], None] = lambda _: None,
) -> tuple[NDArray[np.uint8], int]:
    """Decodes photos without labels into one file, as `load_photos`.

    Args:
        readers: each returns the bytes of one photo, one at least.
        cache: the file; replaced if it exists.
        decoder: for the photos.
        threads: photos prepared at the same time. Their number does not change the result.
        on_photo: called in this thread with the number of photos done.

    Returns:
        The photos, uint8 (N, 3, 448, 448), mapped from the file, and the number of photos left out.
    """

    def prepare(row: int, into: NDArray[np.uint8]) -> bool | None:
        read = _read(readers[row], decoder)
        if read is None:
            return None
        into[:] = resize_photo(read[0]).numpy()  # (3, 448, 448)
        return True

    photos, prepared = _fill(cache, len(readers), prepare, threads=threads, on_photo=on_photo)
    return photos.numpy(), len(readers) - len(prepared)


def _fill(
    cache: Path,
    n_photos: int,
    prepare: Callable[[int, NDArray[np.uint8]], T | None],
    *,
    threads: int,
    on_photo: Callable[[int], None],
) -> tuple[Tensor, dict[int, T]]:
    """Fills a file with photos.

    Args:
        prepare: writes the photo of a row into its place, or returns None if it cannot be read.

    Returns:
        The readable photos, mapped from the file, and what `prepare` returned for them, by row.
    """
    with open(cache, "w+b", opener=opener) as file:
        photos = np.memmap(file, dtype=np.uint8, mode="w+", shape=(n_photos, 3, PHOTO_SIDE, PHOTO_SIDE))
    prepared: dict[int, T] = {}
    pool = ThreadPoolExecutor(threads, thread_name_prefix="prepare")
    try:
        for row, made in enumerate(pool.map(lambda row: prepare(row, photos[row]), range(n_photos))):
            if made is not None:
                if row != len(prepared):
                    photos[len(prepared)] = photos[row]  # closes the gap that an unreadable photo leaves
                prepared[row] = made
            on_photo(row + 1)
    finally:
        pool.shutdown(cancel_futures=True)
    return torch.from_numpy(photos)[: len(prepared)], prepared


def _read(read: Callable[[], bytes], decoder: Decoder) -> tuple[DecodedPhoto, bytes] | None:
    """One photo and the bytes of its file; None if it cannot be read."""
    try:
        data = read()
        return decoder.decode(data), data
    except (AttachmentError, TransientError, OSError):
        return None
