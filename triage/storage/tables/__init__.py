"""The tables. Keys are UUIDv7, times are `timestamptz`; constraints have names, indexes name the query they serve.

Partial indexes and their queries share a predicate, so that the planner can always use the index.
"""

from typing import Final

from triage.storage.base import Base
from triage.storage.tables.arrivals import DEAD_ARRIVAL, READ_ARRIVAL, UNREAD_ARRIVAL, Arrival, ArrivalSource
from triage.storage.tables.assessments import Assessment
from triage.storage.tables.clients import ApiClient, ApiToken, UsedAssertion
from triage.storage.tables.decisions import (
    DECISION_POSITION,
    NUMBERED,
    OPEN_REQUEST,
    UNNUMBERED,
    Decision,
    RequestReview,
    RetakeRequest,
    Verdict,
)
from triage.storage.tables.deliveries import CLOSED_DELIVERY, DEAD, UNDELIVERED, Delivery, DeliveryTarget
from triage.storage.tables.history import PROPOSAL, ArchivedCount, AuditEvent, AuditHead
from triage.storage.tables.messages import Message, OptOut, Origin, Thread
from triage.storage.tables.models import LIVE, OPEN_RUN, ModelVersion, Run
from triage.storage.tables.photo_reviews import TO_VOTE, PhotoReview, PhotoVote, ReviewedPhoto
from triage.storage.tables.photos import (
    FRESH,
    LEASED,
    PURGED,
    RETRY,
    TO_PURGE,
    UNMARKED,
    UNREAD,
    Attachment,
    Blob,
    PhotoStore,
)
from triage.storage.tables.queue import WaitingMessage
from triage.storage.tables.staff import LoginAttempt, Staff, StaffSession

__all__ = [
    "CLOSED_DELIVERY",
    "DEAD",
    "DEAD_ARRIVAL",
    "DECISION_POSITION",
    "FRESH",
    "LEASED",
    "LIVE",
    "METADATA",
    "NUMBERED",
    "OPEN_REQUEST",
    "OPEN_RUN",
    "PROPOSAL",
    "PURGED",
    "READ_ARRIVAL",
    "RETRY",
    "TO_PURGE",
    "TO_VOTE",
    "UNDELIVERED",
    "UNMARKED",
    "UNNUMBERED",
    "UNREAD",
    "UNREAD_ARRIVAL",
    "ApiClient",
    "ApiToken",
    "ArchivedCount",
    "Arrival",
    "ArrivalSource",
    "Assessment",
    "Attachment",
    "AuditEvent",
    "AuditHead",
    "Blob",
    "Decision",
    "Delivery",
    "DeliveryTarget",
    "LoginAttempt",
    "Message",
    "ModelVersion",
    "OptOut",
    "Origin",
    "PhotoReview",
    "PhotoStore",
    "PhotoVote",
    "RequestReview",
    "RetakeRequest",
    "ReviewedPhoto",
    "Run",
    "Staff",
    "StaffSession",
    "Thread",
    "UsedAssertion",
    "Verdict",
    "WaitingMessage",
]

METADATA: Final = Base.metadata
"""All tables."""
