"""Typed UUIDv7 ids of rows."""

from datetime import datetime, timedelta
from typing import Final, NewType
from uuid import UUID

from uuid_utils.compat import uuid7

MessageId = NewType("MessageId", UUID)


ThreadId = NewType("ThreadId", UUID)


AttachmentId = NewType("AttachmentId", UUID)


ModelVersionId = NewType("ModelVersionId", UUID)


DecisionId = NewType("DecisionId", UUID)


RetakeRequestId = NewType("RetakeRequestId", UUID)


RunId = NewType("RunId", UUID)


LeaseToken = NewType("LeaseToken", UUID)


def new_id() -> UUID:
    """A fresh UUIDv7 (RFC 9562): unique, and sorted by the time it was made."""
    return uuid7()


CLOCKS_AGREE: Final = timedelta(days=1)
"""At the worst; `triage doctor` compares them. Ids are made by senders and workers, times by the database."""


def first_id(moment: datetime) -> UUID:
    """An id below that of every row made from this moment on, while `CLOCKS_AGREE` holds."""
    milliseconds = int((moment.timestamp() - CLOCKS_AGREE.total_seconds()) * 1000)
    return UUID(int=max(0, milliseconds) << 80)  # UUIDv7 begins with the year 1970
