"""The variable or command that fixes an error, for interfaces that show errors.

Errors of `triage` say what to do in general words. This module adds the names that the worker package defines.
"""

from typing import Final

from triage.errors import (
    BlobStoreUnavailableError,
    CatalogueError,
    DatabaseRefusedError,
    DatabaseUnavailableError,
    Fault,
    InsufficientPrivilegeError,
    InvalidDatabaseUrlError,
    InvalidUriRootError,
    ListenUrlError,
    ModelNameTakenError,
    ModelNotEvaluatedError,
    ModelStoreUnavailableError,
    NoLiveModelError,
    NoStoreDriverError,
    TablesOutdatedError,
    UnknownModelError,
    UntrainedModelError,
    WrongBlobStoreError,
)

LIMIT_VARIABLES: Final = {
    "max_requests_per_thread": "TRIAGE_RETAKES__MAX_REQUESTS_PER_THREAD",
    "cooldown_hours": "TRIAGE_RETAKES__COOLDOWN_HOURS",
    "uncertain_margin": "TRIAGE_RETAKES__UNCERTAIN_MARGIN",
}
"""The settings of the limits that a simulated scenario can change."""

_HINTS: Final[dict[type[Exception], str]] = {
    DatabaseRefusedError: "set TRIAGE_DATABASE__URL; `triage db roles` creates the roles",
    InvalidDatabaseUrlError: "set TRIAGE_DATABASE__URL",
    ListenUrlError: "set TRIAGE_API__LISTEN_URL",
    TablesOutdatedError: "run `triage db upgrade`",
    InsufficientPrivilegeError: (
        "set TRIAGE_DATABASE__URL; `triage db roles` creates the roles and `triage db upgrade` grants their privileges"
    ),
    BlobStoreUnavailableError: "set TRIAGE_BLOBS__URL",
    NoStoreDriverError: "set TRIAGE_BLOBS__URL or TRIAGE_MODELS__URL",
    WrongBlobStoreError: "`triage blobs adopt` accepts the store at TRIAGE_BLOBS__URL",
    InvalidUriRootError: "set TRIAGE_INTAKE__URI_ROOTS",
    CatalogueError: "set TRIAGE_REPLIES__FOLDER; `triage replies check FOLDER` shows every problem",
    NoLiveModelError: "run `triage models add FOLDER`, then `triage models promote NAME`",
    ModelNameTakenError: "`triage train --new-version` and `triage models add --new-version` make the next version",
    ModelNotEvaluatedError: (
        "run `triage evaluate --model NAME --manifest FILE --record`, or promote with `--force --reason TEXT`"
    ),
    ModelStoreUnavailableError: "set TRIAGE_MODELS__URL",
    UnknownModelError: "`triage models list` shows the registered models",
    UntrainedModelError: "`triage models promote --allow-untrained` is for demonstrations",
}

_OUTAGES: Final = {
    Fault.UNREACHABLE: "set TRIAGE_DATABASE__URL or run `triage up`",
    Fault.UNKNOWN_HOST: "set TRIAGE_DATABASE__URL",
    Fault.READ_ONLY: "set TRIAGE_DATABASE__URL",
    Fault.TOO_MANY_CONNECTIONS: "set TRIAGE_DATABASE__POOL_SIZE",
}
"""Of a Postgres that is unavailable; for other faults, the text of the error is complete."""


def hint(error: Exception) -> str | None:
    """What to set or run; None if the error's own text is complete."""
    if type(error) is DatabaseUnavailableError:
        return _OUTAGES.get(error.kind)
    return next((_HINTS[kind] for kind in type(error).__mro__ if kind in _HINTS), None)


def with_hint(error: Exception) -> str:
    """The error's line, followed by the hint in parentheses."""
    text = hint(error)
    return f"{error} ({text})" if text else str(error)
