"""Lookup tables of DICOM: palettes, modality and VOI LUTs. Source: PS3.3 C.7.6.3.1.5, C.11.1.1.1, C.11.2.1.1."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from triage.imaging.dicom.elements import numbers, value_of

_ENTRY_BITS: Final = 16
_ALL_ENTRIES: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class Table:
    """
    Attributes:
        first: the stored value that the first entry maps; lower ones are mapped to it, too.
        entries: at least one, uint8 or uint16.
        bits: per entry, as stated.
    """

    first: int
    entries: NDArray[Any]
    bits: int

    def map(self, values: NDArray[Any]) -> NDArray[Any]:
        """Values beyond the table get its first or last entry."""
        places = np.clip(values.astype(np.int64) - self.first, 0, len(self.entries) - 1)
        mapped: NDArray[Any] = self.entries[places]
        return mapped

    def white(self, *, unused_bits: int) -> int:
        """The value of white. Some writers state 16 bits for entries of fewer, or 8 bits for entries of 16.

        Args:
            unused_bits: the stated bits are too many if the entries need fewer by this number.
        """
        used, bits = int(self.entries.max()).bit_length(), self.bits
        if used > bits:
            bits = _ENTRY_BITS
        elif used <= bits - unused_bits:
            bits = used
        return int((1 << max(8, bits)) - 1)

    def scaled(self, scale: float) -> "Table":
        return Table(self.first, (self.entries * scale).round().clip(0, 255).astype(np.uint8), 8)


def read_table(dataset: Dataset, descriptor: str, data: str, *, is_signed: bool) -> Table | None:
    """Reads the table with these keywords; None if it is absent or empty.

    Args:
        is_signed: whether the first mapped value may be negative.
    """
    facts = [int(number) for number in numbers(dataset, descriptor)]
    value = value_of(dataset, data)
    if len(facts) != 3 or value is None:
        return None
    n, first, bits = facts[0] % _ALL_ENTRIES or _ALL_ENTRIES, facts[1] % _ALL_ENTRIES, facts[2]
    entries = _entries(_little_endian_bytes(dataset, value), n)
    if not len(entries):
        return None
    return Table(first - _ALL_ENTRIES if is_signed and first >= _ALL_ENTRIES // 2 else first, entries, bits)


def _little_endian_bytes(dataset: Dataset, value: Any) -> bytes:
    if not isinstance(value, bytes):
        words = [value] if isinstance(value, int) else list(value)
        return np.array(words, np.int64).astype("<u2").tobytes()
    if getattr(dataset, "original_encoding", (None, True))[1] is False:
        return np.frombuffer(value[: len(value) // 2 * 2], ">u2").astype("<u2").tobytes()
    return value


def _entries(data: bytes, n: int) -> NDArray[Any]:
    """Entries of 8 bits come packed or as words, whatever the descriptor states."""
    return np.frombuffer(data[:n], np.uint8) if len(data) < 2 * n else np.frombuffer(data[: 2 * n], "<u2")
