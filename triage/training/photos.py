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


@dataclass(frozen=True, slots=True)
class PhotoSet:
    """Photos and their labels.

    Attributes:
        photos: uint8 (N, 3, 448, 448), RGB, upright. Mapped from a file, so that they need not fit into memory.
        labels: the manifest's rows, in the same order.
        measures: of each photo at its full resolution, for a reason head, as `triage.findings.rules.values_of`.
    """

    photos: Tensor
    labels: Sequence[LabelledPhoto]
    measures: Sequence[Mapping[str, float]] = ()

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
    threads: int = 1,
    on_photo: Callable[[int], None] = lambda _: None,
) -> tuple[PhotoSet, int]:
    """Decodes photos into one file, which may be deleted once the set is no longer used.

    Args:
        labels: the photos.
        cache: the file; replaced if it exists.
        decoder: for the photos.
        region_of_interest: crop each photo to its bounding box, if it has one.
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

    def prepare(row: int) -> Mapping[str, float] | None:
        photo = _read(labels[row], decoder, region_of_interest=region_of_interest)
        if photo is None:
            return None
        small = resize_photo(photo)
        photos[row] = small.numpy()  # (3, 448, 448)
        return measure_findings(photo.upright, small.permute(1, 2, 0).numpy()).values

    readable: list[LabelledPhoto] = []
    measures: list[Mapping[str, float]] = []
    pool = ThreadPoolExecutor(threads, thread_name_prefix="prepare")
    try:
        for row, measured in enumerate(pool.map(prepare, range(len(labels)))):
            if measured is not None:
                if row != len(readable):
                    photos[len(readable)] = photos[row]  # closes the gap that an unreadable photo leaves
                readable.append(labels[row])
                measures.append(measured)
            on_photo(row + 1)
    finally:
        pool.shutdown(cancel_futures=True)
    return PhotoSet(torch.from_numpy(photos)[: len(readable)], readable, measures), len(labels) - len(readable)


def _read(label: LabelledPhoto, decoder: Decoder, *, region_of_interest: bool) -> DecodedPhoto | None:
    """One photo; None if it cannot be read or its box lies outside."""
    try:
        photo = decoder.decode(label.path.read_bytes())
    except (AttachmentError, TransientError, OSError):
        return None
    if region_of_interest and label.box is not None:
        return crop(photo, label.box)
    return photo
