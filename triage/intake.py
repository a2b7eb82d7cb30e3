"""Intake: stores messages and their photos, commits, then wakes a worker. Idempotent by the sender's ids.

What is stored first is kept. A resubmission can add photos, opt out, and requeue parked photos whose bytes could not be
read; its other differences are reported.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

from sqlalchemy.orm import Session

from triage.blobs.store import BlobStore
from triage.blobs.uris import UriPolicy
from triage.domain.ids import AttachmentId, MessageId
from triage.domain.incoming import check_message
from triage.domain.limits import IntakeLimits
from triage.domain.messages import Acceptance, AcceptedAttachment, IncomingAttachment, IncomingMessage, Origin
from triage.domain.states import AttachmentStatus
from triage.domain.text import UNDETERMINED
from triage.errors import AttachmentError, ChangedError, ErrorCode, UsageError
from triage.files.hashing import sha256_of
from triage.files.received import ReceivedBytes
from triage.imaging.formats import normalise_declared, sniff
from triage.photo_store import PhotoStore
from triage.retakes.decide import decide_messages
from triage.retakes.opt_out import stop_requests
from triage.retakes.policy import RetakePolicy
from triage.storage import attachments as attachment_rows
from triage.storage import messages as message_rows
from triage.storage import opt_outs, origins, parked, retention
from triage.storage.attachments import NewAttachment, NewBlob, StoredAttachment
from triage.storage.database import Sessions
from triage.storage.message_states import load_known
from triage.storage.messages import Key, NewMessage, StoredMessage
from triage.storage.use_case import use_case

_ACTOR: Final = "intake"
_UNREAD: Final = frozenset({ErrorCode.NOT_FOUND, ErrorCode.FETCH_FAILED})
"""Codes of photos whose bytes could not be read. A resubmission may have brought them back."""


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A message as rows, and its photos.

    Attributes:
        gives_thread: whether the sender named the thread.
    """

    message: NewMessage
    gives_thread: bool
    attachments: Sequence[NewAttachment]
    photos: Mapping[NewBlob, bytes | ReceivedBytes]
    origin: Origin | None


@dataclass(frozen=True, slots=True)
class _Content:
    """The content of an attachment as columns of its row.

    Attributes:
        sha256_of_sent: of the bytes or the URI that was sent, for an attachment without an id.
        sha256: of the bytes.
    """

    sha256_of_sent: str
    sha256: str | None = None
    media_type: str | None = None
    uri: str | None = None
    error_code: ErrorCode | None = None


@dataclass(frozen=True, slots=True)
class _Stored:
    """The rows of messages after their insertion, and which of them are new.

    Attributes:
        messages: as they were before a resubmission opted out.
        attachments: by message and the sender's id.
        opted_out: the messages for which this submission opted out.
        requeued: parked photos that are pending again.
    """

    messages: Mapping[Key, StoredMessage]
    new_messages: Collection[MessageId]
    attachments: Mapping[MessageId, Mapping[str, StoredAttachment]]
    new_attachments: Collection[AttachmentId]
    opted_out: Collection[MessageId]
    requeued: Collection[AttachmentId]

    def acceptance(self, prepared: _Prepared) -> Acceptance:
        source, external_id = prepared.message.key
        message = self.messages[prepared.message.key]
        attachments = self.attachments[message.id]
        return Acceptance(
            id=message.id,
            source=source,
            external_id=external_id,
            attachments=[
                _accepted(each, attachments[each.external_id], self.requeued) for each in prepared.attachments
            ],
            created=message.id in self.new_messages
            or any(item.id in self.new_attachments for item in attachments.values()),
            is_new=message.id in self.new_messages,
            unchanged=_unchanged(prepared, message),
            opted_out=message.opted_out or message.id in self.opted_out,
        )


class _AddedElsewhereError(Exception):
    """Another process has added a message to another thread since this transaction locked its threads."""


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
        self._photo_store = PhotoStore(sessions, blobs)
        self._uris = uris
        self._limits = limits
        self._policy = policy
        self._wake_up = wake_up

    @use_case
    def enqueue(
        self, messages: Sequence[IncomingMessage], *, versions: Mapping[Key, int] | None = None
    ) -> list[Acceptance]:
        """Accepts messages in one transaction: all of them or, on an error, none.

        Args:
            messages: a photo that is known to be unusable (too large, or at a URI that is not allowed) is recorded with
                an error code for staff, and the rest of its message is accepted.
            versions: of messages that are accepted only while they have this version (`KnownMessage.version`); 0 for
                one that is not stored.

        Returns:
            One acceptance per message, in order.

        Raises:
            UsageError: a field is malformed, a message has no photos or too many, or two different photos of a message
                have the same id.
            ChangedError: a message has another version. Nothing was accepted.
            DatabaseUnavailableError, BlobStoreUnavailableError: retry. Nothing was accepted or, if the connection was
                lost during the commit, everything may have been.
        """
        for message in messages:
            check_message(message, self._limits)
        prepared = [self._prepare(message) for message in messages]
        if any(item.photos for item in prepared):
            self._photo_store.set_up()
        for item in prepared:  # before any row refers to them
            for data in item.photos.values():
                self._blobs.put(data)
        stored = self._commit(prepared, versions or {})
        if stored.new_attachments or stored.requeued:
            self._wake_up()
        return [stored.acceptance(item) for item in prepared]

    @use_case
    def receive(self) -> ReceivedBytes:
        """Returns a place for a photo that arrives in pieces. Close it after `enqueue` has stored the photo.

        Raises:
            DatabaseUnavailableError, BlobStoreUnavailableError: retry.
        """
        self._photo_store.set_up()
        return self._blobs.receive(keep=self._limits.max_bytes)

    def _commit(self, prepared: Sequence[_Prepared], versions: Mapping[Key, int]) -> _Stored:
        """Starts again if threads would be locked out of order, which could cause a deadlock."""
        while True:
            with suppress(_AddedElsewhereError), self._sessions.begin() as session:
                return self._store(session, prepared, versions)

    def _prepare(self, message: IncomingMessage) -> _Prepared:
        key = (message.source, message.external_id)
        thread = (message.source, message.thread or message.external_id)
        photos: dict[NewBlob, bytes | ReceivedBytes] = {}
        attachments = [self._prepare_photo(key, attachment, photos) for attachment in message.attachments]
        _check_distinct(message.attachments, attachments)
        new = NewMessage(key, thread, message.role, message.locale, message.opted_out, message.fitzpatrick)
        return _Prepared(new, message.thread is not None, attachments, photos, message.origin)

    def _prepare_photo(
        self, message: Key, attachment: IncomingAttachment, photos: dict[NewBlob, bytes | ReceivedBytes]
    ) -> NewAttachment:
        if attachment.data is not None:
            content = self._content_of(attachment.data, photos)
        elif attachment.uri is not None:
            content = self._content_at(attachment.uri)
        else:
            content = _Content("", error_code=attachment.error_code)
        return NewAttachment(
            message=message,
            external_id=attachment.external_id or content.sha256_of_sent[:16],
            photo_group=attachment.group,
            declared_type=normalise_declared(attachment.declared_type),
            media_type=content.media_type,
            sha256=content.sha256,
            uri=content.uri,
            error_code=content.error_code,
        )

    def _content_of(self, data: bytes | ReceivedBytes, photos: dict[NewBlob, bytes | ReceivedBytes]) -> _Content:
        if isinstance(data, bytes):
            blob = NewBlob(sha256_of(data), sniff(data), len(data))
        else:
            blob = NewBlob(data.sha256, sniff(data.head), data.size)
        is_too_large = blob.size_bytes > self._limits.max_bytes
        if not is_too_large:
            photos[blob] = data
        error_code = ErrorCode.TOO_LARGE if is_too_large else None
        return _Content(blob.sha256, blob.sha256, blob.media_type, error_code=error_code)

    def _content_at(self, uri: str) -> _Content:
        sha256 = sha256_of(uri.encode("utf-8", "surrogatepass"))
        try:
            self._uris.check(uri)
        except AttachmentError as error:
            return _Content(sha256, error_code=error.code)  # a URI that is not allowed is not stored
        return _Content(sha256, uri=uri)

    def _store(self, session: Session, prepared: Sequence[_Prepared], versions: Mapping[Key, int]) -> _Stored:
        stored, new_messages = _add_messages(session, [item.message for item in prepared])
        _check_versions(session, versions, stored, new_messages)
        self._add_blobs(session, prepared)
        message_ids = {key: message.id for key, message in stored.items()}
        origins.add(
            session, {message_ids[item.message.key]: item.origin for item in prepared if item.origin is not None}
        )
        new_attachments = attachment_rows.add_attachments(
            session, [a for item in prepared for a in item.attachments], message_ids
        )
        attachments: dict[MessageId, dict[str, StoredAttachment]] = defaultdict(dict)
        added = []
        for attachment in attachment_rows.list_attachments(session, set(message_ids.values())):
            attachments[attachment.message_id][attachment.external_id] = attachment
            if attachment.id in new_attachments:
                added.append(attachment)
        opted_out = message_rows.opt_out(
            session, {message_ids[item.message.key] for item in prepared if item.message.opted_out}
        )
        if refused := {
            sent.sha256
            for item in prepared
            for sent in item.attachments
            if sent.sha256 and not _is_same_photo(sent, attachments[message_ids[sent.message]][sent.external_id])
        }:
            retention.mark_unreferenced(session, refused)
        if any(attachment.error_code for attachment in added):  # a message may have no photo that can be scored
            decide_messages(session, {attachment.message_id for attachment in added}, self._policy)
        if opted_out:
            stop_requests(session, opted_out, self._policy, by=_ACTOR)
        unread = {
            found.id
            for item in prepared
            for sent in item.attachments
            if (found := attachments[message_ids[sent.message]][sent.external_id]).error_code in _UNREAD
            and _is_same_photo(sent, found)
        }
        requeued = parked.requeue(session, unread, actor=_ACTOR) if unread else {}
        return _Stored(stored, new_messages, attachments, new_attachments, opted_out, requeued)

    def _add_blobs(self, session: Session, prepared: Sequence[_Prepared]) -> None:
        """Adds the rows of photos. Stores a photo again if it was marked for a purge, which may have deleted it."""
        photos = {blob: data for item in prepared for blob, data in item.photos.items()}
        marked = attachment_rows.add_blobs(session, photos.keys())  # and locks them, which keeps a purge away
        if not marked:
            return
        for blob, data in photos.items():
            if blob.sha256 in marked:
                self._blobs.put(data)
        retention.keep_again(session, marked)


def _add_messages(session: Session, messages: Sequence[NewMessage]) -> tuple[dict[Key, StoredMessage], set[MessageId]]:
    """Adds the messages that are new, and locks the threads of all. A known message stays in its thread.

    A new message of a thread that has opted out is opted out too.

    Raises:
        _AddedElsewhereError: another process has just added one of the messages to another thread.
    """
    threads = message_rows.threads_of(session, {message.key for message in messages})
    for message in messages:
        threads.setdefault(message.key, message.thread)
    locked = message_rows.add_threads(session, set(threads.values()))
    opted_out = opt_outs.among(session, locked)
    stored, new = message_rows.add_messages(
        session, [_in_thread(each, threads, opted_out) for each in messages], locked
    )
    if not {message.thread_id for message in stored.values()} <= set(locked.values()):
        raise _AddedElsewhereError
    return stored, new


def _check_versions(
    session: Session, expected: Mapping[Key, int], stored: Mapping[Key, StoredMessage], new: Collection[MessageId]
) -> None:
    """The locks of their threads keep the versions as they are.

    Raises:
        ChangedError: a message has another version than expected.
    """
    for source, name in expected.keys() & stored.keys():
        is_new = stored[source, name].id in new
        version = 0 if is_new else load_known(session, source, [name])[name].version
        if version != expected[source, name]:
            raise ChangedError("the message was changed by another sender: read it again, then retry")


def _in_thread(message: NewMessage, threads: Mapping[Key, Key], opted_out: Collection[Key]) -> NewMessage:
    thread = threads[message.key]
    return replace(message, thread=thread, opted_out=message.opted_out or thread in opted_out)


def _check_distinct(sent: Sequence[IncomingAttachment], new: Sequence[NewAttachment]) -> None:
    """
    Raises:
        UsageError: two photos with different bytes or URIs have the same id.
    """
    photos: dict[str, tuple[str | None, str | None]] = {}
    for attachment, row in zip(sent, new, strict=True):
        photo = (row.sha256, attachment.uri)  # of the URI that was sent: one that is not allowed is not in the row
        if photos.setdefault(row.external_id, photo) != photo:
            raise UsageError(f"two photos have the attachment id {row.external_id!r}: give each photo an id")


def _accepted(sent: NewAttachment, stored: StoredAttachment, requeued: Collection[AttachmentId]) -> AcceptedAttachment:
    is_requeued = stored.id in requeued
    fields = {
        "group": (sent.photo_group, stored.photo_group),
        "declared_type": (sent.declared_type, stored.declared_type),
    }
    return AcceptedAttachment(
        stored.id,
        stored.external_id,
        AttachmentStatus.PENDING if is_requeued else stored.status,
        None if is_requeued else stored.error_code,
        conflict=not _is_same_photo(sent, stored),
        unchanged=[name for name, (new, old) in fields.items() if new is not None and new != old],
        requeued=is_requeued,
    )


def _is_same_photo(sent: NewAttachment, stored: StoredAttachment) -> bool:
    """Whether both have the same bytes or, if only a URI was sent, the same URI. A refused URI is stored as none."""
    if sent.sha256 is not None:
        return sent.sha256 == stored.sha256
    return sent.uri == stored.uri and (sent.uri is not None or stored.sha256 is None)


def _unchanged(prepared: _Prepared, stored: StoredMessage) -> list[str]:
    sent = prepared.message
    differs = {
        "thread": prepared.gives_thread and sent.thread[1] != stored.thread,
        "role": sent.role != stored.role,
        "locale": sent.locale not in {stored.locale, UNDETERMINED},
        "opted_out": stored.opted_out and not sent.opted_out,
        "fitzpatrick": sent.fitzpatrick not in {stored.fitzpatrick, None},
    }
    return [name for name, is_different in differs.items() if is_different]
