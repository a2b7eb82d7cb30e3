"""The photos of a training run: decoded once, stored on disk as the network takes them, read as tensors."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
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
    shape = (len(labels), 3, PHOTO_SIDE, PHOTO_SIDE)
    with open(cache, "w+b", opener=opener) as file:
        photos = np.memmap(file, dtype=np.uint8, mode="w+", shape=shape)

    def prepare(row: int) -> tuple[Mapping[str, float], str] | None:
        read = _read(labels[row], decoder, salt, region_of_interest=region_of_interest)
        if read is None:
            return None
        photo, digest = read
        small = resize_photo(photo)
        photos[row] = small.numpy()  # (3, 448, 448)
        return measure_findings(photo.upright, small.permute(1, 2, 0).numpy()).values, digest

    readable: list[LabelledPhoto] = []
    measures: list[Mapping[str, float]] = []
    hashes: list[str] = []
    pool = ThreadPoolExecutor(threads, thread_name_prefix="prepare")
    try:
        for row, prepared in enumerate(pool.map(prepare, range(len(labels)))):
            if prepared is not None:
                if row != len(readable):
                    photos[len(readable)] = photos[row]  # closes the gap that an unreadable photo leaves
                readable.append(labels[row])
                measures.append(prepared[0])
                hashes.append(prepared[1])
            on_photo(row + 1)
    finally:
        pool.shutdown(cancel_futures=True)
    found = PhotoSet(torch.from_numpy(photos)[: len(readable)], readable, measures, hashes)
    return found, len(labels) - len(readable)


def _read(
    label: LabelledPhoto, decoder: Decoder, salt: str, *, region_of_interest: bool
) -> tuple[DecodedPhoto, str] | None:
    """One photo and the hash of its file; None if it cannot be read or its box lies outside."""
    try:
        data = label.path.read_bytes()
        photo = decoder.decode(data)
    except (AttachmentError, TransientError, OSError):
        return None
    region = crop(photo, label.box) if region_of_interest and label.box is not None else photo
    return None if region is None else (region, hash_photo(salt, data))
