"""Retrying parked photos, after their storage, a decoder or a worker was repaired."""

from collections import Counter
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from pydantic import AwareDatetime

from triage.domain.actors import check_actor
from triage.domain.ids import MessageId
from triage.errors import ErrorCode, UsageError
from triage.storage import inbox, messages, parked, retention
from triage.storage.database import Sessions
from triage.storage.use_case import use_case

_PHOTOS_PER_TRANSACTION: Final = 500


@dataclass(frozen=True, slots=True)
class Requeued:
    """
    Attributes:
        photos: parked photos that are pending now.
        messages: their messages.
        without_bytes: parked photos that stay parked, because their bytes are purged or were never stored.
    """

    photos: int
    messages: int
    without_bytes: int


@use_case
def retry_photos(
    sessions: Sessions,
    *,
    message: str | None = None,
    source: str | None = None,
    error: ErrorCode | None = None,
    since: AwareDatetime | None = None,
    by: str,
) -> Requeued:
    """Makes parked photos pending again, with all their attempts. A message is decided again when they are finished.

    Args:
        sessions: of the worker role.
        message: the sender's id of a message, or its own id; without it, `error` and `since` are required.
        source: the sender, required if several senders use the same id.
        error: only photos that were parked with this code.
        since: only photos received from this time on.
        by: actor id for the audit trail.

    Raises:
        UsageError: neither a message nor a code and a time are given, the message is unknown or ambiguous, or `by` is
            malformed.
    """
    check_actor(by)
    if message is None and (error is None or since is None):
        raise UsageError("too many photos: give a message, or an error code and a time")
    with sessions() as session:
        message_id = None if message is None else MessageId(messages.find_message(session, message, source).id)
    after, found, requeued = UUID(int=0), 0, Counter[MessageId]()
    while True:
        with sessions.begin() as session:
            photos = parked.find(
                session, message_id=message_id, error=error, since=since, after=after, limit=_PHOTOS_PER_TRANSACTION
            )
            if not photos:
                return Requeued(requeued.total(), len(requeued), found - requeued.total())
            ids = [photo.id for photo in photos]
            inbox.lock_threads(session, ids)
            retention.lock_blobs(session, [photo.sha256 for photo in photos if photo.sha256])
            changed = parked.requeue(session, ids, actor=by)
        after, found = ids[-1], found + len(ids)
        requeued.update(changed.values())
