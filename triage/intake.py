"""Intake: messages in, rows committed, then a wake-up. Sending the same ids again changes nothing."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from sqlalchemy.orm import Session

from triage.blobs.store import BlobStore
from triage.blobs.uris import UriPolicy
from triage.domain.ids import MessageId
from triage.domain.limits import IntakeLimits
from triage.domain.messages import Acceptance, AcceptedAttachment, IncomingAttachment, IncomingMessage
from triage.errors import AttachmentError, ErrorCode, UsageError
from triage.files.hashing import sha256_of
from triage.imaging.formats import normalise_declared, sniff
from triage.retakes.decide import decide_messages
from triage.retakes.policy import RetakePolicy
from triage.storage import messages as rows
from triage.storage import retention
from triage.storage.database import Sessions
from triage.storage.messages import NewAttachment, NewBlob, NewMessage

_OPAQUE_ID = re.compile(r"[^\x00-\x1f\x7f]{1,200}")
_WORD = re.compile(r"[A-Za-z0-9_.-]{1,64}")


@dataclass(frozen=True, slots=True)
class _Prepared:
    message: NewMessage
    attachments: Sequence[NewAttachment]
    blobs: Sequence[NewBlob] = field(default_factory=list)


class Intake:
    """Accepts messages. Once a call returns, its messages are committed, whether or not Redis is up."""

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
        self._sessions = sessions
        self._blobs = blobs
        self._uris = uris
        self._limits = limits
        self._policy = policy
        self._wake_up = wake_up

    def enqueue(self, messages: Sequence[IncomingMessage]) -> list[Acceptance]:
        """Accepts messages in one transaction: all of them or, on an error, none.

        Args:
            messages: a photo that can be told to be unusable (too large, its URI not allowed) does not stop its
                message: it is recorded with an error code, for staff to see.

        Returns:
            One acceptance for each message, in order.

        Raises:
            UsageError: an id is malformed, or a message has no attachments or too many.
            ServiceUnavailableError: Postgres or the blob store does not answer; nothing was accepted.
        """
        for message in messages:
            self._check(message)
        prepared = [self._prepare(message) for message in messages]  # blobs are written before any row refers to them
        with self._sessions.begin() as session:
            threads = rows.add_threads(session, {item.message.thread for item in prepared})
            ids, new_messages = rows.add_messages(session, [item.message for item in prepared], threads)
            marked = rows.add_blobs(session, {blob for item in prepared for blob in item.blobs})
            self._keep_again(session, marked, messages)
            new = rows.add_attachments(session, [a for item in prepared for a in item.attachments], ids)
            stored = rows.list_attachments(session, set(ids.values()))
            if any(attachment.error_code for attachment in stored if attachment.id in new):
                decide_messages(session, {a.message_id for a in stored if a.id in new}, self._policy)
        if new:
            self._wake_up()
        touched = new_messages | {attachment.message_id for attachment in stored if attachment.id in new}
        by_message = _group(stored)
        return [
            Acceptance(
                id=(message_id := ids[item.message.key]),
                source=item.message.key[0],
                external_id=item.message.key[1],
                attachments=[by_message[message_id][a.external_id] for a in item.attachments],
                created=message_id in touched,
            )
            for item in prepared
        ]

    def _keep_again(self, session: Session, hashes: Sequence[str], messages: Sequence[IncomingMessage]) -> None:
        """Stores photos anew that a purge may have removed meanwhile; the blobs' locks keep it away now."""
        if not hashes:
            return
        data = (attachment.data for message in messages for attachment in message.attachments)
        for photo in data:
            if photo is not None and sha256_of(photo) in hashes:
                self._blobs.put(photo)
        retention.keep_again(session, hashes)

    def _check(self, message: IncomingMessage) -> None:
        if not _OPAQUE_ID.fullmatch(message.external_id) or not _OPAQUE_ID.fullmatch(
            message.thread or message.external_id
        ):
            raise UsageError("a message or thread id must have 1 to 200 printable characters")
        for word in (message.source, message.role, message.locale):
            if not _WORD.fullmatch(word):
                raise UsageError(
                    "source, role and locale must have 1 to 64 letters, digits, dots, dashes or underscores"
                )
        if not message.attachments:
            raise UsageError("the message has no photos: send it only when it brings some")
        if len(message.attachments) > self._limits.max_attachments:
            raise UsageError(
                f"the message has {len(message.attachments)} photos, {self._limits.max_attachments} are allowed: "
                "split it, or raise TRIAGE_INTAKE__MAX_ATTACHMENTS"
            )
        for attachment in message.attachments:
            if (attachment.data is None) == (attachment.uri is None):
                raise UsageError("an attachment needs either its bytes or a URI")
            for text in (attachment.external_id, attachment.group):
                if text is not None and not _OPAQUE_ID.fullmatch(text):
                    raise UsageError("an attachment id or group must have 1 to 200 printable characters")

    def _prepare(self, message: IncomingMessage) -> _Prepared:
        key = (message.source, message.external_id)
        thread = (message.source, message.thread or message.external_id)
        blobs: list[NewBlob] = []
        attachments = [self._prepare_attachment(key, attachment, blobs) for attachment in message.attachments]
        new = NewMessage(key, thread, message.role, message.locale, message.opted_out)
        return _Prepared(new, attachments, blobs)

    def _prepare_attachment(
        self, message: rows.Key, attachment: IncomingAttachment, blobs: list[NewBlob]
    ) -> NewAttachment:
        sha256, media_type, error_code = None, None, None
        if attachment.data is not None:
            sha256 = content = sha256_of(attachment.data)
            media_type = sniff(attachment.data)
            if len(attachment.data) > self._limits.max_bytes:
                error_code = ErrorCode.TOO_LARGE
            else:
                self._blobs.put(attachment.data)
                blobs.append(NewBlob(sha256, media_type, len(attachment.data)))
        else:
            content = sha256_of((attachment.uri or "").encode())
            error_code = self._refusal(attachment.uri or "")
        return NewAttachment(
            message=message,
            external_id=attachment.external_id or content[:16],
            photo_group=attachment.group,
            declared_type=normalise_declared(attachment.declared_type),
            media_type=media_type,
            sha256=sha256,
            uri=None if error_code else attachment.uri,
            error_code=error_code,
        )

    def _refusal(self, uri: str) -> ErrorCode | None:
        try:
            self._uris.check(uri)
        except AttachmentError as error:
            return error.code
        return None


def _group(stored: Iterable[rows.StoredAttachment]) -> dict[MessageId, dict[str, AcceptedAttachment]]:
    grouped: dict[MessageId, dict[str, AcceptedAttachment]] = {}
    for item in stored:
        accepted = AcceptedAttachment(item.id, item.external_id, item.status, item.error_code)
        grouped.setdefault(item.message_id, {})[item.external_id] = accepted
    return grouped
