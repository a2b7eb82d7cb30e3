"""Photos for people: decoded in a process of their own, encoded again without metadata, and each view audited."""

import io
from dataclasses import dataclass, field
from typing import Final

from PIL import Image

from triage.blobs.source import PhotoSource
from triage.domain.actors import check_actor
from triage.domain.ids import AttachmentId, MessageId
from triage.domain.messages import ClaimedAttachment
from triage.errors import AttachmentError, ErrorCode, NotFoundError
from triage.files.hashing import sha256_of
from triage.imaging.decode import Decoder
from triage.storage import attachments, audit
from triage.storage.database import Sessions
from triage.storage.use_case import use_case

THUMBNAIL_SIDE: Final = 480
_THUMBNAIL_QUALITY: Final = 85
_FULL_QUALITY: Final = 95


@dataclass(frozen=True, slots=True)
class ShownPhoto:
    """A photo as JPEG without metadata, upright and in sRGB."""

    data: bytes = field(repr=False)
    width: int
    height: int


class PhotoViews:
    """Shows photos to people. Thread-safe."""

    def __init__(self, sessions: Sessions, source: PhotoSource, decoder: Decoder) -> None:
        """
        Args:
            sessions: of the worker role.
            source: the bytes of the photos.
            decoder: with decoder processes.
        """
        self._sessions = sessions
        self._source = source
        self._decoder = decoder

    @use_case
    def show(self, message_id: MessageId, attachment_id: AttachmentId, *, full: bool, by: str) -> ShownPhoto:
        """Returns a photo of a message and records in the audit trail that it was seen.

        Args:
            message_id: the message.
            attachment_id: the photo.
            full: with all its pixels; otherwise a thumbnail.
            by: actor id of the person.

        Raises:
            NotFoundError: the message has no such photo, or its bytes were deleted.
            AttachmentError: the photo cannot be decoded, or another one is at its address.
            StorageFaultError: its bytes cannot be read now.
            UsageError: `by` is malformed.
        """
        check_actor(by)
        with self._sessions() as session:
            photos = attachments.list_attachments(session, [message_id])
            photo = next((each for each in photos if each.id == attachment_id), None)
            if photo is None:
                raise NotFoundError("the message has no such photo: list its photos")
            stored = photo.sha256 if photo.uri is None else None
            if (photo.uri or stored) is None or (stored and attachments.is_purged(session, stored)):
                raise NotFoundError("the photo was deleted: only its results are kept")
        data = self._source.fetch(ClaimedAttachment(attachment_id, photo.sha256, photo.uri))
        if photo.sha256 is not None and sha256_of(data) != photo.sha256:
            raise AttachmentError(ErrorCode.ALTERED, "another photo is at the address now: the assessed one is gone")
        shown = _encoded(self._decoder.decode(data, apart=True).to_image(), full=full)
        with self._sessions.begin() as session:
            audit.record(
                session,
                actor=by,
                action="photo.seen",
                subject_kind="message",
                subject_id=message_id,
                attachment=str(attachment_id),
                full=full,
            )
        return shown


def _encoded(image: Image.Image, *, full: bool) -> ShownPhoto:
    if not full:
        image.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    file = io.BytesIO()
    clean = Image.frombytes("RGB", image.size, image.tobytes())  # nothing but pixels
    clean.save(file, "JPEG", quality=_FULL_QUALITY if full else _THUMBNAIL_QUALITY, subsampling=0 if full else 2)
    return ShownPhoto(file.getvalue(), *image.size)
