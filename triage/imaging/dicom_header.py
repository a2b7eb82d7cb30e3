"""Recognises DICOM by its first elements: with and without preamble, file meta information and explicit VRs.

Source: DICOM PS3.5, 7.1 (data elements), PS3.10, 7.1 (preamble, file meta information).
"""

import struct
from typing import Final

PREFIX_END: Final = 132
_PREAMBLE_BYTES: Final = 128
_PREFIX: Final = b"DICM"
_PLAUSIBLE_ELEMENTS: Final = 3
_FIRST_GROUPS: Final = (2, 8)  # file meta information, identification
_UNDEFINED: Final = 0xFFFFFFFF
_LONG_VRS: Final = frozenset(
    {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
)
_SHORT_VRS: Final = frozenset(
    {b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT", b"PN", b"SH", b"SL", b"SS"}
    | {b"ST", b"TM", b"UI", b"UL", b"US"}
)


def start_of_elements(data: bytes) -> int | None:
    """Returns where the first data element of a DICOM file or a bare data set starts, or None for other files."""
    has_prefix = data[_PREAMBLE_BYTES:PREFIX_END] == _PREFIX
    places = [PREFIX_END] if has_prefix else []
    places.append(0)  # before the prefix is trusted, which may be part of a value
    if data.startswith(_PREFIX):
        places.append(len(_PREFIX))
    if not data[:_PREAMBLE_BYTES].strip(b"\0"):
        places.append(_PREAMBLE_BYTES)
    for place in places:
        if any(_has_elements(data, place, order) for order in "<>"):
            return place
    return PREFIX_END if has_prefix else None


def _has_elements(data: bytes, position: int, order: str) -> bool:
    """Whether elements of ascending tags follow each other, the first of group 2 or 8."""
    previous, group = -1, 0
    for number in range(_PLAUSIBLE_ELEMENTS):
        if position + 12 > len(data):
            return False
        group, element = struct.unpack_from(order + "HH", data, position)
        tag = group << 16 | element
        if tag <= previous or (number == 0 and group not in _FIRST_GROUPS):
            return False
        start, length = _value(data, position, order)
        if length == _UNDEFINED:
            return number > 0  # a sequence
        if start + length > len(data):
            return False
        previous, position = tag, start + length
    return True


def _value(data: bytes, position: int, order: str) -> tuple[int, int]:
    """Where the value of an element starts, and its length."""
    vr = data[position + 4 : position + 6]
    if vr in _LONG_VRS:
        return position + 12, int(struct.unpack_from(order + "I", data, position + 8)[0])
    if vr in _SHORT_VRS:
        return position + 8, int(struct.unpack_from(order + "H", data, position + 6)[0])
    return position + 8, int(struct.unpack_from(order + "I", data, position + 4)[0])
