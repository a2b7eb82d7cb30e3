"""The photos of a training run: decoded once, kept on disk as they enter the network, read as tensors."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from triage.dataset.crop import crop
from triage.dataset.manifest import LabelledPhoto
from triage.errors import AttachmentError, TransientError
from triage.imaging.decode import Decoder
from triage.model.patches import PHOTO_SIDE, resize_photo


@dataclass(frozen=True, slots=True)
class PhotoSet:
    """Photos and their votes.

    Attributes:
        photos: uint8 (N, 3, 448, 448), RGB, upright. Backed by a file, so that any number fits into memory.
        votes: int64 (N,), 0..K.
        labels: the manifest's rows of the photos, in the same order.
    """

    photos: Tensor
    votes: Tensor
    labels: Sequence[LabelledPhoto]

    def __len__(self) -> int:
        return len(self.labels)


def load_photos(
    labels: Sequence[LabelledPhoto],
    cache: Path,
    decoder: Decoder,
    *,
    region_of_interest: bool = False,
    on_photo: Callable[[int], None] = lambda _: None,
) -> tuple[PhotoSet, int]:
    """Decodes photos into one file, which may be deleted once the set is no longer used.

    Args:
        cache: the file, made anew.
        region_of_interest: crop each photo that has a bounding box to it.
        on_photo: called with the number of photos done.

    Returns:
        The photos that could be read, and how many could not or have their box outside.
    """
    if not labels:
        empty = torch.empty((0, 3, PHOTO_SIDE, PHOTO_SIDE), dtype=torch.uint8)
        return PhotoSet(empty, torch.empty(0, dtype=torch.int64), []), 0
    shape = (len(labels), 3, PHOTO_SIDE, PHOTO_SIDE)
    photos = np.memmap(cache, dtype=np.uint8, mode="w+", shape=shape)
    readable: list[LabelledPhoto] = []
    for number, label in enumerate(labels, 1):
        try:
            photo = decoder.decode(label.path.read_bytes())
        except (AttachmentError, TransientError, OSError):
            continue
        finally:
            on_photo(number)
        if region_of_interest and label.box is not None:
            region = crop(photo, label.box)
            if region is None:
                continue
            photo = region
        photos[len(readable)] = resize_photo(photo).numpy()
        readable.append(label)
    votes = torch.tensor([label.votes for label in readable], dtype=torch.int64)
    return PhotoSet(torch.from_numpy(photos)[: len(readable)], votes, readable), len(labels) - len(readable)
