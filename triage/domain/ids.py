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
EventId = NewType("EventId", UUID)
ArrivalId = NewType("ArrivalId", UUID)
PhotoReviewId = NewType("PhotoReviewId", UUID)
ReviewedPhotoId = NewType("ReviewedPhotoId", UUID)
VoteId = NewType("VoteId", UUID)
LeaseToken = NewType("LeaseToken", UUID)


def new_id() -> UUID:
    """Returns a new UUIDv7 (RFC 9562), which sorts by the time of its creation."""
    return uuid7()


CLOCKS_AGREE: Final = timedelta(days=1)
"""The largest clock difference between hosts. Senders and workers create ids, the database records times."""


def first_id(moment: datetime) -> UUID:
    """Returns an id below the ids of rows created from this moment on, if clocks differ by at most `CLOCKS_AGREE`."""
    milliseconds = int((moment.timestamp() - CLOCKS_AGREE.total_seconds()) * 1000)
    return UUID(int=max(0, milliseconds) << 80)  # UUIDv7 counts from 1970


def last_id(moment: datetime) -> UUID:
    """Returns an id above the ids of rows created before this moment, if clocks differ by at most `CLOCKS_AGREE`."""
    return first_id(moment + 2 * CLOCKS_AGREE)
