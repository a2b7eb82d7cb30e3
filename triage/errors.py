"""The error hierarchy.

A message is one line: what is wrong, a colon, what to do. It holds opaque ids but no patient data, and names neither an
environment variable nor a command: the interface that shows the error adds those.
"""

import traceback
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from enum import StrEnum
from types import TracebackType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pydantic import ValidationError  # not imported at run time: every command starts with this module


class TriageError(Exception):
    """Base of all errors that this product raises deliberately. `str(error)` is one line that can be shown to users."""


class UsageError(TriageError):
    """The request is invalid, for example an unknown message, a malformed manifest or an exceeded limit."""


class NotFoundError(UsageError):
    """What the request names does not exist."""


class InvalidUriRootError(UsageError):
    """An allowed root for photo URIs is malformed."""


class UntrainedModelError(UsageError):
    """A model with random weights was to be promoted without explicit permission."""


class ModelNameTakenError(UsageError):
    """A model was to get the name of another one, and no new version of it was asked for."""


class UnknownModelError(UsageError):
    """A name stands for no registered model, or for several."""


class ModelNotEvaluatedError(UsageError):
    """A model without a sufficient evaluation on its card was to be promoted without a reason."""


class TrainingPhotosError(UsageError):
    """An evaluation of photos that the model was trained or validated on was to be recorded."""


class CatalogueError(UsageError):
    """The texts of replies are invalid.

    Attributes:
        problems: one line each, which names the file and the text.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        more = f"; and {len(problems) - _PROBLEMS} more" if len(problems) > _PROBLEMS else ""
        super().__init__(f"invalid texts of replies: {'; '.join(problems[:_PROBLEMS])}{more}")
        self.problems = problems


class Fault(StrEnum):
    """Why a service is unavailable. The names are stable, because logs and alerts depend on them."""

    UNREACHABLE = "unreachable"
    UNKNOWN_HOST = "unknown_host"
    DISCONNECTED = "disconnected"
    RESTARTING = "restarting"
    TOO_MANY_CONNECTIONS = "too_many_connections"
    TOO_SLOW = "too_slow"
    LOCKED = "locked"
    READ_ONLY = "read_only"
    DISK_FULL = "disk_full"
    NO_MEMORY = "no_memory"
    OUTDATED = "outdated"
    NO_PASSWORD = "no_password"  # noqa: S105  # names of faults, not passwords
    WRONG_PASSWORD = "wrong_password"  # noqa: S105
    UNKNOWN_ROLE = "unknown_role"
    UNKNOWN_DATABASE = "unknown_database"
    NO_PRIVILEGE = "no_privilege"
    NOT_ALLOWED = "not_allowed"
    UNTRUSTED_CERTIFICATE = "untrusted_certificate"
    NO_CERTIFICATE = "no_certificate"
    TLS = "tls"
    SETTING = "setting"
    REFUSED = "refused"
    DEVICE_LOST = "device_lost"


class ServiceUnavailableError(TriageError):
    """A service that this product depends on is unavailable. Retrying later may succeed.

    Attributes:
        kind: the reason.
        retry_after: the delay that the service asks for.
    """

    def __init__(self, message: str, kind: Fault = Fault.UNREACHABLE, *, retry_after: timedelta | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.retry_after = retry_after


class ServiceRefusedError(ServiceUnavailableError):
    """A service responds and refuses this process until a setting or an account is corrected, such as a password.

    It counts as unavailable, because work is kept and retried: a password may be changed while workers run.
    """


class DatabaseUnavailableError(ServiceUnavailableError):
    """Postgres does not respond, or closed the connection."""


class DatabaseRefusedError(ServiceRefusedError, DatabaseUnavailableError):
    """Postgres, or its driver, refuses to connect with this URL."""


class InvalidDatabaseUrlError(DatabaseRefusedError):
    """The URL of the database is malformed."""

    def __init__(self, message: str) -> None:
        super().__init__(message, Fault.SETTING)


class ListenUrlError(DatabaseRefusedError):
    """The URL on which decisions are announced is malformed, or Postgres refuses to connect with it."""


class InsufficientPrivilegeError(DatabaseRefusedError):
    """The database role lacks a privilege that the operation requires."""

    def __init__(self, message: str) -> None:
        super().__init__(message, Fault.NO_PRIVILEGE)


class TablesOutdatedError(ServiceUnavailableError):
    """The database schema is older than this release requires. No work starts until the schema is upgraded."""

    def __init__(self, message: str) -> None:
        super().__init__(message, Fault.OUTDATED)


class TablesNewerError(UsageError):
    """The database schema is of a newer release, and the operation requires that of this release."""


class BlobStoreUnavailableError(ServiceUnavailableError):
    """The blob store cannot be read or written, or its URL has no driver."""


class NoStoreDriverError(ServiceRefusedError, BlobStoreUnavailableError):
    """No driver is installed for the URL of a store."""

    def __init__(self, message: str) -> None:
        super().__init__(message, Fault.SETTING)


class WrongBlobStoreError(BlobStoreUnavailableError):
    """The blob store is not the one that this database was set up with: it is empty, not mounted or another one."""


class DeviceError(ServiceUnavailableError):
    """The device cannot run the network now, for example because its memory is full. No photo is at fault."""


class DeviceLostError(DeviceError):
    """The device computes nothing more in this process. Only a new process can use it again."""

    def __init__(self, message: str) -> None:
        super().__init__(message, Fault.DEVICE_LOST)


class DefectError(TriageError):
    """A defect of this product. The text names the place but no value, since values may be patient data."""

    def __init__(self, problem: str, trace: TracebackType | None) -> None:
        super().__init__(f"internal error: {problem} at {' < '.join(reversed(where(trace)))}: report this defect")


class ModelError(TriageError):
    """A model artifact is missing, damaged or incompatible. The worker stops, because it cannot score photos."""


class NoLiveModelError(ModelError):
    """No registered model is live."""


class ModelStoreUnavailableError(ModelError, ServiceUnavailableError):
    """The weights of a registered model cannot be read from the model store."""


class LeaseLostError(TriageError):
    """The lease expired and another worker holds the work, so the late result was rejected."""


class LockedError(TriageError):
    """Another process holds the lock of this work. A retry after that process has finished succeeds."""


class ChangedError(TriageError):
    """What the caller read was changed by others since. A retry reads it again."""


class ErrorCode(StrEnum):
    """Why an attachment is `not_assessable`. The names are stable, because reports and other systems depend on them."""

    EMPTY = "empty"
    UNKNOWN_FORMAT = "unknown_format"
    UNSUPPORTED_VARIANT = "unsupported_variant"
    UNSUPPORTED_TRANSFER_SYNTAX = "unsupported_transfer_syntax"
    NO_PIXELS = "no_pixels"
    TRUNCATED = "truncated"
    CORRUPT = "corrupt"
    ALTERED = "altered"
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
    """A permanent failure of one attachment. It is recorded for that attachment and never fails the batch."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code


def causes_of(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what it was raised from, innermost last."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def photo_too_large(max_bytes: int) -> AttachmentError:
    """The error of a photo with more bytes than may be read."""
    return AttachmentError(ErrorCode.TOO_LARGE, f"the photo has more than {max_bytes:,} bytes: send a smaller photo")


class TransientError(TriageError):
    """A temporary failure of one attachment, for example a stalled blob store or a crashed decoder.

    The attachment is retried alone, up to the maximum number of attempts.
    """

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code


class PhotoRefusedError(TransientError):
    """A web server answers, and does not give the bytes of one attachment: its link may have expired."""

    def __init__(self, message: str) -> None:
        super().__init__(ErrorCode.FETCH_FAILED, message)


class StorageFaultError(TransientError):
    """The bytes of one attachment cannot be read, because of their storage and not of their sender.

    The attachment is retried; no attempt is used up.
    """

    def __init__(self, message: str) -> None:
        super().__init__(ErrorCode.FETCH_FAILED, message)


_FRAMES: Final = 4
_UNKNOWN: Final = "extra_forbidden"
_PROBLEMS: Final = 5
_KEY_LENGTH: Final = 40


def where(trace: TracebackType | None) -> list[str]:
    """The innermost frames of a traceback as `file:line`, without source text or values."""
    frames = traceback.extract_tb(trace)[-_FRAMES:]
    return [f"{'/'.join(frame.filename.rsplit('/', 3)[-2:])}:{frame.lineno}" for frame in frames]


def validation_problems(error: "ValidationError", name: Callable[[Sequence[str]], str] = ".".join) -> str:
    """One line with the field and the problem of each error, `field: problem; field: problem`. Never a value.

    Keys that a sender may have chosen are shortened and escaped, and only the first problems are listed, unknown
    names before others because they may be misspelt.

    Args:
        error: of pydantic.
        name: makes the name of a field from the keys that lead to it.
    """
    problems = sorted(error.errors(include_url=False, include_input=False), key=lambda each: each["type"] != _UNKNOWN)
    texts = [
        ": ".join(filter(None, (name([*map(_key, problem["loc"])]), _problem_text(problem["type"], problem["msg"]))))
        for problem in problems[:_PROBLEMS]
    ]
    if len(problems) > _PROBLEMS:
        texts.append(f"and {len(problems) - _PROBLEMS} more")
    return "; ".join(texts)


def _key(key: object) -> str:
    text = str(key)
    shortened = text if len(text) <= _KEY_LENGTH else f"{text[:_KEY_LENGTH]}..."
    return shortened if shortened.isprintable() else ascii(shortened)


def _problem_text(kind: str, text: str) -> str:
    if kind == _UNKNOWN:
        return "unknown name"
    if kind == "model_type":  # pydantic names the class
        return "Input should be a valid object"
    if kind == "uuid_parsing":  # pydantic quotes a character of the value
        return "Input should be a valid UUID"
    return text.removeprefix("Value error, ")
