"""Fetches the bytes of a claimed attachment, from the blob store or from its URI."""

from triage.blobs.store import BlobStore
from triage.blobs.uris import UriPolicy
from triage.domain.messages import ClaimedAttachment
from triage.errors import AttachmentError, ErrorCode


class PhotoSource:
    """Fetches photos from the blob store or from their URIs."""

    def __init__(self, blobs: BlobStore, uris: UriPolicy) -> None:
        self._blobs = blobs
        self._uris = uris

    def fetch(self, attachment: ClaimedAttachment) -> bytes:
        """Returns the bytes of an attachment.

        Raises:
            AttachmentError: the bytes are missing, corrupt, too large or not allowed.
            TransientError: the store or the server does not respond.
        """
        if attachment.uri is not None:
            return self._uris.fetch(attachment.uri)
        if attachment.sha256 is None:
            raise AttachmentError(ErrorCode.NOT_FOUND, "the attachment has neither bytes nor a URI: resend it")
        return self._blobs.get(attachment.sha256)
