"""Photos of a data set that no model can score."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from triage.errors import AttachmentError, ErrorCode, TransientError


@dataclass(frozen=True, slots=True)
class UnreadPhoto:
    """A photo that was left out.

    Attributes:
        path: of the file.
        code: of the error.
        why: the error's text, without the path.
    """

    path: Path = field(repr=False)
    code: str
    why: str

    @classmethod
    def of(cls, path: Path, error: AttachmentError | TransientError | OSError) -> Self:
        if isinstance(error, OSError):
            return cls(path, ErrorCode.FETCH_FAILED, "the file cannot be opened: check the path and its permissions")
        return cls(path, error.code, str(error))

    @classmethod
    def outside_box(cls, path: Path) -> Self:
        return cls(path, "box_outside_photo", "the region of interest lies outside the photo: correct the box")
