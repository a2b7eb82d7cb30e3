"""What a message refers to, read from the EHR's server, or by a link to elsewhere through the product's own limits."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from triage.blobs.uris import UriPolicy
from triage.errors import (
    AttachmentError,
    ErrorCode,
    PhotoRefusedError,
    ServiceUnavailableError,
    TransientError,
    UsageError,
    photo_too_large,
)
from worker.fhir.references import Target
from worker.fhir.server.client import Elsewhere, FhirClient
from worker.fhir.server.errors import NotThereError, RejectedError, TooLargeError


@dataclass(frozen=True, slots=True)
class Ehr:
    """Implements `worker.fhir.reading.photos.Server`.

    Attributes:
        client: of the server that the message is on.
        uris: allows addresses elsewhere, such as those of signed links to an object store.
        max_bytes: of a photo.
    """

    client: FhirClient
    uris: UriPolicy
    max_bytes: int

    def resource(self, target: Target) -> Mapping[str, Any]:
        """As `Server.resource`."""
        try:
            return self.client.read(target).resource
        except (NotThereError, RejectedError) as error:
            raise _cannot_be_had(error) from error

    def content(self, url: str, media_type: str | None) -> bytes:
        """As `Server.content`. A redirect is followed once, without the token."""
        if self.client.serves(url):
            try:
                found = self.client.content(url, media_type, max_bytes=self.max_bytes)
            except (NotThereError, RejectedError) as error:
                raise _cannot_be_had(error) from error
            except TooLargeError as error:
                raise photo_too_large(self.max_bytes) from error
            except UsageError as error:
                raise AttachmentError(
                    ErrorCode.CORRUPT, "the FHIR server has no Binary there: send it again"
                ) from error
            if not isinstance(found, Elsewhere):
                return found
            url = found.url
        try:
            return self.uris.fetch_link(url)
        except PhotoRefusedError as error:
            raise AttachmentError(
                ErrorCode.FETCH_FAILED, "the server of the photo does not give it: send it again"
            ) from error
        except TransientError as error:
            raise ServiceUnavailableError("the server of a photo does not answer: retry") from error


def _cannot_be_had(error: NotThereError | RejectedError) -> AttachmentError:
    """Why a photo has no bytes. A server that does not give it says nothing about the others."""
    if isinstance(error, NotThereError):
        return AttachmentError(ErrorCode.NOT_FOUND, "the photo is not on the FHIR server: send it again")
    return AttachmentError(
        ErrorCode.FETCH_FAILED, "the FHIR server does not give the photo: permit this client to read it"
    )
