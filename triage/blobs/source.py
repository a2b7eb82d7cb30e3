"""The bytes of a claimed attachment: from the blob store, or from its URI."""

from triage.blobs.store import BlobStore
from triage.blobs.uris import UriPolicy
from triage.domain.messages import ClaimedAttachment
from triage.errors import AttachmentError, ErrorCode


class PhotoSource:
    """The bytes of a claimed attachment, wherever they are."""

    def __init__(self, blobs: BlobStore, uris: UriPolicy) -> None:
        self._blobs = blobs
        self._uris = uris

    def fetch(self, attachment: ClaimedAttachment) -> bytes:
        """As `BlobStore.get` or `UriPolicy.fetch`."""
        if attachment.uri is not None:
            return self._uris.fetch(attachment.uri)
        if attachment.sha256 is None:
            raise AttachmentError(ErrorCode.NOT_FOUND, "the attachment has neither bytes nor a URI: send it again")
        return self._blobs.get(attachment.sha256)
