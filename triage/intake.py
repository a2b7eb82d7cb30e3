"""Intake: stores messages and their photos, commits, then wakes a worker. Idempotent by the sender's ids."""

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from triage.blobs.store import BlobStore
from triage.blobs.uris import UriPolicy
from triage.domain.ids import AttachmentId, MessageId
from triage.domain.limits import IntakeLimits
from triage.domain.messages import Acceptance, AcceptedAttachment, IncomingAttachment, IncomingMessage
from triage.errors import AttachmentError, ErrorCode, UsageError
from triage.files.hashing import sha256_of
from triage.imaging.formats import normalise_declared, sniff
from triage.retakes.decide import decide_messages
from triage.retakes.policy import RetakePolicy
from triage.storage import messages as message_rows
from triage.storage import retention
from triage.storage.database import Sessions
from triage.storage.messages import Key, NewAttachment, NewBlob, NewMessage, StoredAttachment
from triage.storage.use_case import use_case

_OPAQUE_ID = re.compile(r"[^\x00-\x1f\x7f]{1,200}")
_WORD = re.compile(r"[A-Za-z0-9_.-]{1,64}")


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A message as rows, and its photos, which are in the blob store already."""

    message: NewMessage
    attachments: Sequence[NewAttachment]
    photos: Mapping[NewBlob, bytes]


@dataclass(frozen=True, slots=True)
class _Stored:
    """The rows of messages after their insertion, and which of them are new.

    Attributes:
        attachments: by message and the sender's id.
    """

    message_ids: Mapping[Key, MessageId]
    new_messages: Collection[MessageId]
    attachments: Mapping[MessageId, Mapping[str, StoredAttachment]]
    new_attachments: Collection[AttachmentId]

    def acceptance(self, prepared: _Prepared) -> Acceptance:
        source, external_id = prepared.message.key
        message_id = self.message_ids[prepared.message.key]
        stored = self.attachments[message_id]
        return Acceptance(
            id=message_id,
            source=source,
            external_id=external_id,
            attachments=[
                AcceptedAttachment(item.id, item.external_id, item.status, item.error_code)
                for item in (stored[attachment.external_id] for attachment in prepared.attachments)
            ],
            created=message_id in self.new_messages or any(item.id in self.new_attachments for item in stored.values()),
        )


class Intake:
    """Accepts messages. Once a call returns, its messages are committed, even if Redis is down."""

    def __init__(
        self,
        sessions: Sessions,
        blobs: BlobStore,
        uris: UriPolicy,
        *,
        limits: IntakeLimits,
        policy: RetakePolicy,
        wake_up: Callable[[], object],
    ) -> None:
        """Takes the parts that intake needs.

        Args:
            sessions: of the worker role.
            blobs: receives the photos.
            uris: decides which URIs are allowed.
            limits: on messages and photos.
            policy: decides messages of which no photo can be scored.
            wake_up: wakes a scoring worker. It must not raise.
        """
        self._sessions = sessions
        self._blobs = blobs
        self._uris = uris
        self._limits = limits
        self._policy = policy
        self._wake_up = wake_up

    @use_case
    def enqueue(self, messages: Sequence[IncomingMessage]) -> list[Acceptance]:
        """Accepts messages in one transaction: all of them or, on an error, none.

        Args:
            messages: a photo that is known to be unusable (too large, or at a URI that is not allowed) is recorded with
                an error code for staff, and the rest of its message is accepted.

        Returns:
            One acceptance per message, in order.

        Raises:
            UsageError: an id is malformed, or a message has no photos or too many.
            DatabaseUnavailableError, BlobStoreUnavailableError: nothing was accepted; retry.
        """
        for message in messages:
            _check(message, self._limits)
        prepared = [self._prepare(message) for message in messages]  # stores photos before any row refers to them
        with self._sessions.begin() as session:
            stored = self._store(session, prepared)
        if stored.new_attachments:
            self._wake_up()
        return [stored.acceptance(item) for item in prepared]

    def _prepare(self, message: IncomingMessage) -> _Prepared:
        key = (message.source, message.external_id)
        thread = (message.source, message.thread or message.external_id)
        photos: dict[NewBlob, bytes] = {}
        attachments = [
            self._prepare_uri(key, attachment, attachment.uri or "")
            if attachment.data is None
            else self._prepare_photo(key, attachment, attachment.data, photos)
            for attachment in message.attachments
        ]
        new = NewMessage(key, thread, message.role, message.locale, message.opted_out)
        return _Prepared(new, attachments, photos)

    def _prepare_photo(
        self, message: Key, attachment: IncomingAttachment, data: bytes, photos: dict[NewBlob, bytes]
    ) -> NewAttachment:
        sha256, media_type = sha256_of(data), sniff(data)
        is_too_large = len(data) > self._limits.max_bytes
        if not is_too_large:
            self._blobs.put(data)
            photos[NewBlob(sha256, media_type, len(data))] = data
        return NewAttachment(
            message=message,
            external_id=attachment.external_id or sha256[:16],
            photo_group=attachment.group,
            declared_type=normalise_declared(attachment.declared_type),
            media_type=media_type,
            sha256=sha256,
            uri=None,
            error_code=ErrorCode.TOO_LARGE if is_too_large else None,
        )

    def _prepare_uri(self, message: Key, attachment: IncomingAttachment, uri: str) -> NewAttachment:
        error_code = None
        try:
            self._uris.check(uri)
        except AttachmentError as error:
            error_code = error.code
        return NewAttachment(
            message=message,
            external_id=attachment.external_id or sha256_of(uri.encode())[:16],
            photo_group=attachment.group,
            declared_type=normalise_declared(attachment.declared_type),
            media_type=None,
            sha256=None,
            uri=None if error_code else uri,  # a URI that is not allowed is not stored
            error_code=error_code,
        )

    def _store(self, session: Session, prepared: Sequence[_Prepared]) -> _Stored:
        threads = message_rows.add_threads(session, {item.message.thread for item in prepared})
        message_ids, new_messages = message_rows.add_messages(session, [item.message for item in prepared], threads)
        self._add_blobs(session, prepared)
        new_attachments = message_rows.add_attachments(
            session, [a for item in prepared for a in item.attachments], message_ids
        )
        stored: dict[MessageId, dict[str, StoredAttachment]] = defaultdict(dict)
        added = []
        for attachment in message_rows.list_attachments(session, set(message_ids.values())):
            stored[attachment.message_id][attachment.external_id] = attachment
            if attachment.id in new_attachments:
                added.append(attachment)
        if any(attachment.error_code for attachment in added):  # a message may have no photo that can be scored
            decide_messages(session, {attachment.message_id for attachment in added}, self._policy)
        return _Stored(message_ids, new_messages, stored, new_attachments)

    def _add_blobs(self, session: Session, prepared: Sequence[_Prepared]) -> None:
        """Adds the rows of photos. Stores a photo again if it was marked for a purge, which may have deleted it."""
        photos = {blob: data for item in prepared for blob, data in item.photos.items()}
        marked = message_rows.add_blobs(session, photos.keys())  # and locks them, which keeps a purge away
        if not marked:
            return
        for blob, data in photos.items():
            if blob.sha256 in marked:
                self._blobs.put(data)
        retention.keep_again(session, marked)


def _check(message: IncomingMessage, limits: IntakeLimits) -> None:
    for name in (message.external_id, message.thread or message.external_id):
        if not _OPAQUE_ID.fullmatch(name):
            raise UsageError("invalid message or thread id: use 1 to 200 printable characters")
    for word in (message.source, message.role, message.locale):
        if not _WORD.fullmatch(word):
            raise UsageError("invalid source, role or locale: use 1 to 64 letters, digits, dots, dashes or underscores")
    if not message.attachments:
        raise UsageError("the message has no photos: send only messages with photos")
    if len(message.attachments) > limits.max_attachments:
        raise UsageError(
            f"the message has {len(message.attachments)} photos and the limit is {limits.max_attachments}: "
            "split the message or raise the limit"
        )
    for attachment in message.attachments:
        if (attachment.data is None) == (attachment.uri is None):
            raise UsageError("invalid attachment: give either its bytes or a URI")
        for optional in (attachment.external_id, attachment.group):
            if optional is not None and not _OPAQUE_ID.fullmatch(optional):
                raise UsageError("invalid attachment id or group: use 1 to 200 printable characters")
