"""Messages that another system holds and that are read there."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import ClassVar, Final

from triage.domain.ids import ArrivalId, LeaseToken, RetakeRequestId
from triage.domain.messages import CHECKED, IncomingMessage
from triage.domain.states import ArrivalError, ArrivalStatus
from triage.errors import ErrorCode

_NOT_GIVEN: Final = frozenset({ErrorCode.NOT_FOUND, ErrorCode.FETCH_FAILED})


@dataclass(frozen=True, slots=True)
class ClaimedArrival:
    """A message that this process may read until its lease ends.

    Attributes:
        reference: of the message on its system.
        announced: the number of announcements so far.
        attempts: including this one.
    """

    id: ArrivalId
    reference: str
    announced: int
    attempts: int
    token: LeaseToken


@dataclass(frozen=True, slots=True)
class Found:
    """What a message is on its system now.

    Attributes:
        version: of what was read; None if the system has no versions.
        message: to accept; None if nothing is to be accepted.
        is_withdrawn: its author or its system took it back.
        answers: retake requests that the message answers.
        is_absent: its system does not have it; if it states so, the message is withdrawn too.
    """

    __pydantic_config__: ClassVar = CHECKED
    version: str | None = None
    message: IncomingMessage | None = None
    is_withdrawn: bool = False
    answers: Sequence[RetakeRequestId] = ()
    is_absent: bool = False

    @property
    def lacks_photo(self) -> bool:
        """Whether its system did not give one of its photos."""
        photos = self.message.attachments if self.message else ()
        return any(photo.error_code in _NOT_GIVEN for photo in photos)


@dataclass(frozen=True, slots=True)
class ArrivalResult:
    """The result of one reading. A pending one is due again after `retry_in`."""

    arrival: ClaimedArrival
    status: ArrivalStatus
    version: str | None = None
    error: ArrivalError | None = None
    retry_in: timedelta = timedelta(0)


@dataclass(frozen=True, slots=True)
class Search:
    """A search that this process may make until its lease ends.

    Attributes:
        since: messages of earlier times are known.
        started_at: by the clock of the database.
        announced: the number of announcements so far that name no message.
    """

    source: str
    since: datetime
    started_at: datetime
    announced: int
    token: LeaseToken


@dataclass(frozen=True, slots=True)
class Events:
    """The numbers of the events that a notification of a subscription is about.

    Attributes:
        subscription: its reference on its system.
        first: the lowest number; without events, one more than the last.
        last: the highest number; without events, that of the last event so far.
    """

    __pydantic_config__: ClassVar = CHECKED
    subscription: str
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class CountedArrivals:
    """The number of messages of a source with a status, and when the oldest was announced."""

    source: str
    status: ArrivalStatus
    n: int
    oldest: datetime


@dataclass(frozen=True, slots=True)
class Arrival:
    """A message that another system holds, as people see it.

    Attributes:
        reference: of the message on its system.
        attempts: failed ones in a row.
        due_at: the time of the next attempt; None if there will be none.
    """

    id: ArrivalId
    source: str
    reference: str
    status: ArrivalStatus
    attempts: int
    error: ArrivalError | None
    created_at: datetime
    due_at: datetime | None
    finished_at: datetime | None
