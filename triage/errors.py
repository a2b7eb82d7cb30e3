"""One hierarchy of errors. A message is one line: what is wrong and what to do, and never patient data."""

import traceback
from enum import StrEnum
from types import TracebackType
from typing import Final

from pydantic import ValidationError


class TriageError(Exception):
    """Base of every error that this product raises on purpose. `str(error)` is one line, fit to show to a user."""


class UsageError(TriageError):
    """What the caller asked for is wrong: an unknown message, a malformed manifest, a limit exceeded."""


class ServiceUnavailableError(TriageError):
    """Postgres, Redis or the blob store does not answer. Trying again later may help."""


class TablesOutdatedError(ServiceUnavailableError):
    """The database has the tables of an older release. Nothing is begun until `triage db upgrade` was run."""


class ModelError(TriageError):
    """A model artifact is missing, damaged or of another version. The worker stops: no photo can be scored."""


class LeaseLostError(TriageError):
    """The lease ran out and someone else holds the work now, so that this late result was refused."""


class ErrorCode(StrEnum):
    """Why an attachment is `not_assessable`. Stable: staff, reports and other systems rely on these names."""

    EMPTY = "empty"
    UNKNOWN_FORMAT = "unknown_format"
    UNSUPPORTED_VARIANT = "unsupported_variant"
    UNSUPPORTED_TRANSFER_SYNTAX = "unsupported_transfer_syntax"
    NO_PIXELS = "no_pixels"
    TRUNCATED = "truncated"
    CORRUPT = "corrupt"
    TOO_LARGE = "too_large"
    TOO_MANY_PIXELS = "too_many_pixels"
    TOO_MANY_FRAMES = "too_many_frames"
    SIDE_TOO_LONG = "side_too_long"
    TOO_SMALL = "too_small"
    TOO_MUCH_MEMORY = "too_much_memory"
    DECODING_TIMED_OUT = "decoding_timed_out"
    DECODER_CRASHED = "decoder_crashed"
    NOT_FOUND = "not_found"
    URI_NOT_ALLOWED = "uri_not_allowed"
    FETCH_FAILED = "fetch_failed"
    SCORING_FAILED = "scoring_failed"
    ATTEMPTS_EXHAUSTED = "attempts_exhausted"
    FORGOTTEN = "forgotten"


class AttachmentError(TriageError):
    """One attachment cannot be assessed, now or ever. It is recorded for that attachment and never fails its batch."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code


class TransientError(TriageError):
    """One attachment could not be read this time (a blob store that stalls, a decoder that crashes).

    It is tried again, alone, up to the cap.
    """

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code


_FRAMES: Final = 4


def where(trace: TracebackType | None) -> list[str]:
    """The innermost frames of a traceback as `file:line`, without any value."""
    frames = traceback.extract_tb(trace)[-_FRAMES:]
    return [f"{'/'.join(frame.filename.rsplit('/', 3)[-2:])}:{frame.lineno}" for frame in frames]


def validation_problems(error: ValidationError) -> str:
    """One line with the field and the problem of each error, `field: problem; field: problem`. Never a value."""
    return "; ".join(
        ": ".join(filter(None, (".".join(map(str, problem["loc"])), problem["msg"].removeprefix("Value error, "))))
        for problem in error.errors(include_url=False, include_input=False)
    )
