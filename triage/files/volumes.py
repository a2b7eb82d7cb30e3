"""Free space of the volumes that hold folders."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_MIN_BYTES: Final = 2**30
_MIN_SHARE: Final = 0.05
_ENOUGH_BYTES: Final = 50 * 2**30


@dataclass(frozen=True, slots=True)
class Volume:
    """
    Attributes:
        device: number of the file system; folders with the same number share their space.
        free_bytes: that the process may use.
        free_share: share of bytes or of inodes that are free, whichever is smaller.
    """

    device: int
    free_bytes: int
    free_share: float

    @property
    def is_low(self) -> bool:
        """Less than 1 GiB is free, or less than 5 % of the bytes or inodes. 50 GiB are enough on any volume."""
        return self.free_bytes < _MIN_BYTES or (self.free_share < _MIN_SHARE and self.free_bytes < _ENOUGH_BYTES)


def volume_of(folder: Path) -> Volume | None:
    """The volume of a folder or, if it does not exist, of its nearest parent; None if that cannot be examined."""
    try:
        existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        found, device = os.statvfs(existing), existing.stat().st_dev
    except OSError:
        return None
    shares = [
        free / total for free, total in ((found.f_bavail, found.f_blocks), (found.f_favail, found.f_files)) if total
    ]
    return Volume(device, found.f_bavail * found.f_frsize, min(shares, default=1.0))
