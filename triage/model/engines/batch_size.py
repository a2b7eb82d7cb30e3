"""The number of photos in one call: as many as fit into the memory of the card now."""

from typing import Final

LARGEST_BATCH: Final = 128
"""Photos in a call: from 134 on, the first layer's output has more elements than 32 bits can count."""

BATCHES_TO_GROW: Final = 200
"""Batches without a failure after which the size grows: another program may have freed memory."""


class BatchSize:
    """Halved from the size that failed, doubled after many batches that fitted. Always a power of two."""

    def __init__(self, photos: int) -> None:
        """
        Args:
            photos: the largest size, at least 1; rounded down to a power of two.
        """
        self._largest = 1 << (min(photos, LARGEST_BATCH).bit_length() - 1)
        self.photos = self._largest
        self._fitted = 0

    def failed(self, photos: int) -> None:
        """Notes that a batch of this size did not fit."""
        self.photos = 1 << max(0, (photos // 2).bit_length() - 1)
        self._fitted = 0

    def fitted(self) -> None:
        """Notes that a batch fitted."""
        self._fitted += 1
        if self._fitted >= BATCHES_TO_GROW:
            self.photos = min(2 * self.photos, self._largest)
            self._fitted = 0
