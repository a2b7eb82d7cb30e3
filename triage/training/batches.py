"""The batches of an epoch, on the device that trains: which photos, and how they get there.

Axes: N photos of a set, n photos of a batch.
"""

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from typing import Final, Protocol

import torch
from torch import Tensor

from triage.training.photos import PhotoSet

_SHARE_OF_MEMORY: Final = 0.25
"""A set stays on the card if it takes at most this share of the free memory. Training needs the rest."""


class Batches(Protocol):
    """The photos of a set, given out in batches on a device."""

    def of(self, order: Tensor, photos_each: int) -> Iterator[Tensor]:
        """Gives out photos in batches, whose sizes differ by one photo at most.

        Args:
            order: int64 (N,), rows of the set, on the CPU.
            photos_each: photos in the largest batch.

        Yields:
            uint8 (n, 3, 448, 448), valid until the next batch.
        """
        ...


def batches_on(device: torch.device, photos: PhotoSet) -> Batches:
    """Keeps the photos on the device if they fit, otherwise reads each batch while the device computes the last."""
    if device.type == "cpu" or photos.photos.nbytes <= _SHARE_OF_MEMORY * torch.cuda.mem_get_info(device)[0]:
        return ResidentBatches(photos, device)
    return PrefetchedBatches(photos, device)


def split_evenly(rows: Tensor, photos_each: int) -> tuple[Tensor, ...]:
    """Splits rows so that no batch is much smaller than the others: its photos would count for more."""
    return rows.tensor_split(math.ceil(len(rows) / photos_each)) if len(rows) else ()


class ResidentBatches:
    """Batches of photos that are on the device; those of a CPU may be mapped from a file."""

    def __init__(self, photos: PhotoSet, device: torch.device) -> None:
        self._photos = photos.photos.to(device)  # (N, 3, 448, 448)

    def of(self, order: Tensor, photos_each: int) -> Iterator[Tensor]:
        """As `Batches.of`."""
        for rows in split_evenly(order.to(self._photos.device), photos_each):
            yield self._photos[rows]  # (n, 3, 448, 448)


class PrefetchedBatches:
    """Batches that a thread collects in pinned memory, one ahead of the device."""

    def __init__(self, photos: PhotoSet, device: torch.device) -> None:
        self._photos = photos.photos  # (N, 3, 448, 448)
        self._device = device

    def of(self, order: Tensor, photos_each: int) -> Iterator[Tensor]:
        """As `Batches.of`."""
        slots = cycle([_Slot(self._photos, photos_each, self._device) for _ in range(2)])
        with ThreadPoolExecutor(1, thread_name_prefix="prefetch") as thread:
            collecting = (
                (slot, thread.submit(slot.collect, rows))
                for slot, rows in zip(slots, split_evenly(order, photos_each), strict=False)
            )
            ahead = next(collecting, None)
            while ahead is not None:
                (slot, batch), ahead = ahead, next(collecting, None)
                yield slot.move(batch.result())


class _Slot:
    """Pinned memory for one batch. It is written to again once its last batch has reached the device."""

    def __init__(self, photos: Tensor, photos_each: int, device: torch.device) -> None:
        self._photos = photos
        self._device = device
        self._copied = torch.cuda.Event() if device.type == "cuda" else None
        self._memory = torch.empty(
            (photos_each, *photos.shape[1:]), dtype=photos.dtype, pin_memory=self._copied is not None
        )

    def collect(self, rows: Tensor) -> Tensor:
        if self._copied is not None:
            self._copied.synchronize()
        return torch.index_select(self._photos, 0, rows, out=self._memory[: len(rows)])

    def move(self, batch: Tensor) -> Tensor:
        moved = batch.to(self._device, non_blocking=True)
        if self._copied is not None:
            self._copied.record(torch.cuda.current_stream(self._device))
        return moved
