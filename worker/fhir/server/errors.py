"""What a FHIR server answers instead of what was asked for."""

from triage.errors import ServiceRefusedError, ServiceUnavailableError, TriageError


class FhirUnavailableError(ServiceUnavailableError):
    """The server does not answer, or says that it cannot answer now."""


class FhirRefusedError(ServiceRefusedError):
    """The server refuses this client: its registration, key or scopes must be corrected."""


class NotThereError(TriageError):
    """Nothing is at an address of the server. It may exist: a proxy may answer, or a replica that lags behind."""


class UnknownError(NotThereError):
    """A FHIR server answers that nothing is there, and does not state whether the resource exists."""


class GoneError(NotThereError):
    """The server states that the resource does not exist, or no longer."""


class ConflictError(TriageError):
    """The resource was changed by others, or several match a condition that one may match."""


class RejectedError(TriageError):
    """The server does not accept a request, and would not accept it again.

    Attributes:
        status: of HTTP.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class ForbiddenError(RejectedError):
    """The server does not give this client the one resource that it asks for."""


class TooLargeError(TriageError):
    """The server sends more bytes than may be read."""
