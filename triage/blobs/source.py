"""Fetches the bytes of a claimed attachment, from the blob store or from its URI."""

from collections.abc import Callable
from typing import Protocol

from triage.blobs.store import BlobStore
from triage.blobs.uris import UriPolicy
from triage.domain.messages import ClaimedAttachment
from triage.errors import AttachmentError, ErrorCode, StorageFaultError


class Source(Protocol):
    """Where an assessor gets the bytes of claimed photos."""

    def fetch(self, attachment: ClaimedAttachment) -> bytes:
        """See `PhotoSource.fetch`."""
        ...


class PhotoSource:
    """Fetches photos from the blob store or from their URIs."""

    def __init__(self, blobs: BlobStore, uris: UriPolicy, *, check: Callable[[], object] = lambda: None) -> None:
        """
        Args:
            blobs: the photos whose bytes were submitted.
            uris: the allowed URIs of the others.
            check: raises BlobStoreUnavailableError if the whole blob store is unavailable. It is called when a photo
                cannot be read from it.
        """
        self._blobs = blobs
        self._uris = uris
        self._check = check

    def fetch(self, attachment: ClaimedAttachment) -> bytes:
        """Returns the bytes of an attachment.

        Raises:
            AttachmentError: the bytes are corrupt, too large or not allowed, or nothing is at the URI.
            StorageFaultError: the store or the server does not respond, or the store has lost the bytes.
            BlobStoreUnavailableError: the whole blob store is unavailable.
        """
        if attachment.uri is not None:
            return self._uris.fetch(attachment.uri)
        if attachment.sha256 is None:
            raise AttachmentError(ErrorCode.NOT_FOUND, "the attachment has neither bytes nor a URI: resend it")
        try:
            return self._blobs.get(attachment.sha256)
        except StorageFaultError:
            self._check()
            raise
