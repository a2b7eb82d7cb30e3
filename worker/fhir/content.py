"""The bytes of an Attachment, and whether they are those that it describes."""

import base64
import binascii
import hashlib
from dataclasses import dataclass
from typing import Final

from triage.errors import AttachmentError, ErrorCode, TriageError, photo_too_large
from worker.fhir.elements import Attachment

_MAY_BE_PHOTO: Final = ("image/", "application/dicom", "application/octet-stream", "binary/octet-stream")
_WHITESPACE: Final = str.maketrans("", "", " \t\r\n")


class AnotherTypeError(TriageError):
    """The server states that the content is not a photo."""


class TooMuchError(TriageError):
    """The photos of one request have too many bytes together."""


@dataclass(slots=True)
class Room:
    """The memory for the photos of one request. A photo that is referred to twice counts twice: it is stored twice.

    Attributes:
        max_bytes: of all photos together.
        taken: bytes so far.
    """

    max_bytes: int
    taken: int = 0

    def take(self, data: bytes) -> None:
        """
        Raises:
            TooMuchError: there is no room for these bytes.
        """
        if not self._fits(data):
            raise TooMuchError(f"the photos have more than {self.max_bytes:,} bytes together: send several requests")

    def _fits(self, data: bytes) -> bool:
        fits = self.taken + len(data) <= self.max_bytes
        if fits:
            self.taken += len(data)
        return fits


class MessageRoom(Room):
    """The memory for the photos of one message. A photo that has no room there is an error of that photo."""

    def take(self, data: bytes) -> None:
        """
        Raises:
            AttachmentError: there is no room for these bytes.
        """
        if not self._fits(data):
            raise AttachmentError(
                ErrorCode.TOO_LARGE,
                f"the photos of the message have more than {self.max_bytes:,} bytes together: send smaller photos",
            )


def may_be_photo(media_type: str | None) -> bool:
    """Whether content of a stated type is read. Decoding never relies on this type."""
    return media_type is None or media_type.strip().lower().startswith(_MAY_BE_PHOTO)


def inline_bytes(data: str, *, max_bytes: int) -> bytes:
    """Decodes base64Binary, in which FHIR allows white space.

    Raises:
        AttachmentError: it is malformed, or the bytes are too many.
    """
    if len(data) > 2 * max_bytes:
        raise photo_too_large(max_bytes)
    try:
        decoded = base64.b64decode(data.translate(_WHITESPACE), validate=True)
    except (binascii.Error, ValueError) as error:
        raise AttachmentError(ErrorCode.CORRUPT, "the data of the attachment is not base64: send it again") from error
    if len(decoded) > max_bytes:
        raise photo_too_large(max_bytes)
    return decoded


def check_integrity(attachment: Attachment, data: bytes) -> None:
    """Compares the bytes with the size and the SHA-1 that the attachment states, if any.

    Both protect against accidents alone.

    Raises:
        AttachmentError: they differ.
    """
    if attachment.size is not None and attachment.size != len(data):
        raise AttachmentError(ErrorCode.ALTERED, "the photo has another size than its sender states: send it again")
    if attachment.hash is not None and attachment.hash.translate(_WHITESPACE) != _sha1(data):
        raise AttachmentError(ErrorCode.ALTERED, "the photo has another hash than its sender states: send it again")


def _sha1(data: bytes) -> str:
    return base64.b64encode(hashlib.sha1(data, usedforsecurity=False).digest()).decode("ascii")
