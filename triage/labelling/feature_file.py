"""A file of what networks computed for photos, so that a second command need not run them again.

In the format safetensors, which cannot run code. Photos are named by a hash; the features describe their pictures, so
the file is as confidential as the photos.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from triage.errors import UsageError
from triage.files.atomic import write_durably
from triage.files.kinds import is_file, read_regular

_NAMES: Final = ("photos", "outputs", "features")


class FeatureFile:
    """The rows of one network; those of other networks stay in the file.

    Axes: n photos, 5 patches, o outputs, f features.
    """

    def __init__(self, path: Path | None, network: str) -> None:
        """
        Args:
            path: read if it exists; None keeps the rows in memory alone.
            network: SHA-256 of its weights.

        Raises:
            UsageError: the file is not one of this kind.
        """
        self._path = path
        self._prefix = network
        self._stored = _read(path) if path is not None and is_file(path) else {}
        self._rows: dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]] = {}
        self._is_new = False
        if f"{network}.photos" in self._stored:
            photos, outputs, features = (self._stored[f"{network}.{name}"] for name in _NAMES)
            for photo, *row in zip(photos, outputs, features, strict=True):
                self._rows[photo.tobytes().hex()] = (row[0], row[1])

    def __contains__(self, photo: str) -> bool:
        return photo in self._rows

    def add(self, photo: str, outputs: NDArray[np.float32], features: NDArray[np.float32]) -> None:
        """
        Args:
            photo: SHA-256 of what the network saw.
            outputs: (5, o).
            features: (f,).
        """
        self._rows[photo] = (outputs, features)
        self._is_new = True

    def rows(self, photos: Sequence[str]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The outputs (n, 5, o) and the features (n, f) of photos that are in the file."""
        return np.stack([self._rows[photo][0] for photo in photos]), np.stack([self._rows[p][1] for p in photos])

    def write(self) -> None:
        """Writes the file if a row was added.

        Raises:
            UsageError: the file cannot be written.
        """
        if self._path is None or not self._is_new:
            return
        outputs, features = self.rows(list(self._rows))
        photos = np.array([list(bytes.fromhex(photo)) for photo in self._rows], dtype=np.uint8)  # (n, 32)
        arrays: tuple[NDArray[Any], ...] = (photos, outputs, features)
        rows = {f"{self._prefix}.{name}": array for name, array in zip(_NAMES, arrays, strict=True)}
        try:
            write_durably(self._path, save(self._stored | rows))
        except OSError as error:
            raise UsageError(f"{self._path}: cannot be written: check the folder, its free space") from error


def _read(path: Path) -> dict[str, NDArray[Any]]:
    try:
        stored: dict[str, NDArray[Any]] = load(read_regular(path))
    except (OSError, SafetensorError) as error:
        raise UsageError(f"{path}: no file of features: name a new file, or one that this command wrote") from error
    return stored
