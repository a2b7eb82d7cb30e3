"""Reads a data set and the values of its elements. What is malformed reads as absent."""

import io
import math
import struct
from typing import Any, Final

from pydicom import Dataset, config, dcmread
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement, convert_raw_data_element
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pydicom.valuerep import BYTES_VR

from triage.imaging.dicom_header import PREFIX_END, start_of_elements

# Validation messages of pydicom quote values of the data set, which must not reach a log.
config.settings.reading_validation_mode = config.IGNORE

_HEAD: Final = bytes(128) + b"DICM"
_NATIVE: Final = {
    (True, True): ImplicitVRLittleEndian,
    (False, True): ExplicitVRLittleEndian,
    (False, False): ExplicitVRBigEndian,
}


def read_data_set(data: bytes) -> Dataset:
    """Parses a DICOM file or a bare data set.

    Raises:
        Exception: of any type, if the data set is damaged.
    """
    start = start_of_elements(data)
    return dcmread(io.BytesIO(data if start == PREFIX_END else _HEAD + data[start or 0 :]))


def is_cut(data: bytes) -> bool:
    """Whether a file ends within an element."""
    mode = config.settings.reading_validation_mode
    config.settings.reading_validation_mode = config.RAISE  # otherwise pydicom warns of the end of the file
    try:
        dataset = read_data_set(data)
    except (EOFError, struct.error):
        return True
    except Exception:  # pydicom raises many types on damaged data sets
        return False
    finally:
        config.settings.reading_validation_mode = mode
    last = dataset.get_item(max(dataset.keys()), keep_deferred=True) if len(dataset) else None
    return isinstance(last, RawDataElement) and is_short(last)


def is_short(element: Any) -> bool:
    """Whether a value has fewer bytes than its element states."""
    has_length = isinstance(element, RawDataElement) and element.length != 0xFFFFFFFF
    return has_length and len(element.value or b"") < element.length


def transfer_syntax(dataset: Dataset) -> UID:
    """The stated transfer syntax, or that of the elements if none is stated."""
    stated = UID(str(value_of(getattr(dataset, "file_meta", Dataset()), "TransferSyntaxUID") or ""))
    is_implicit, is_little = getattr(dataset, "original_encoding", (True, True))
    return stated or _NATIVE.get((bool(is_implicit), bool(is_little)), ImplicitVRLittleEndian)


def value_of(dataset: Dataset, keyword: str) -> Any:
    """The value of an element; None if it is absent, empty or malformed."""
    try:
        element = dataset[keyword]
        value = _as_defined(element, dataset).value if isinstance(element.value, bytes) else element.value
        return None if value is None or (isinstance(value, str) and not value.strip("\0 ")) else value
    except Exception:  # pydicom raises many types on malformed values
        return None


def _as_defined(element: DataElement, dataset: Dataset) -> DataElement | RawDataElement:
    """Reads bytes with the VR of the standard, unless that is one of bytes: some writers state OB for any element."""
    defined = dictionary_VR(element.tag).split(" or ")
    if BYTES_VR & set(defined):
        return element
    is_little = getattr(dataset, "original_encoding", (True, True))[1] is not False
    value = element.value
    return convert_raw_data_element(
        RawDataElement(element.tag, defined[0], len(value), value, 0, is_implicit_VR=False, is_little_endian=is_little)
    )


def numbers(dataset: Dataset, keyword: str) -> list[float]:
    """The finite numbers of an element with one or several values."""
    value = value_of(dataset, keyword)
    values: list[Any] = [value] if isinstance(value, int | float | str) else list(value or ())
    found = []
    for each in values:
        try:
            number = float(each)
        except (TypeError, ValueError, OverflowError):
            continue
        if math.isfinite(number):
            found.append(number)
    return found


def integer(dataset: Dataset, keyword: str, default: int) -> int:
    """The first number of an element."""
    return int(next(iter(numbers(dataset, keyword)), default))


def word(dataset: Dataset, keyword: str) -> str:
    """The first text of an element in capitals, without blanks and punctuation, which writers vary."""
    value = value_of(dataset, keyword)
    first = value if isinstance(value, str) or value is None else next(iter(value), "")
    return "".join(letter for letter in str(first or "").upper() if letter.isalnum())


def items(dataset: Dataset, keyword: str) -> list[Dataset]:
    """The items of a sequence."""
    value = value_of(dataset, keyword)
    return [item for item in value if isinstance(item, Dataset)] if isinstance(value, list) or value else []
