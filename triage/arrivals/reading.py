"""Reads announced messages on their system, several at the same time, and hands them to intake.

A reading is outside of any transaction. The lease is the only record that it began: a reader that is killed leaves a
message that another reads again, and intake accepts it once. A service that is unavailable is never the fault of a
message, which then waits as long as it takes. Neither is a message or a photo that is not there yet, for a while.
"""

import random
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final, Protocol

import structlog

from triage.arrivals.follow import follow
from triage.deliveries.batches import work_off
from triage.deliveries.rules import DeliveryRules, delay_after
from triage.domain.arrivals import ArrivalResult, ClaimedArrival, Found
from triage.domain.states import ArrivalError, ArrivalStatus
from triage.errors import DatabaseUnavailableError, ServiceUnavailableError, TriageError, UsageError
from triage.intake import Intake
from triage.reports.state import known_messages
from triage.retakes.policy import RetakePolicy
from triage.storage import arrivals
from triage.storage.database import Sessions

log = structlog.get_logger(__name__)

RULES: Final = DeliveryRules(
    first_delay=timedelta(seconds=5), longest_delay=timedelta(minutes=15), lease=timedelta(minutes=10), at_once=4
)
"""For readings. There is no last attempt."""

PATIENCE: Final = 6
"""Readings, over about two minutes, until what is not there counts as missing: a replica may lag behind a hook."""


class Reader(Protocol):
    """Reads messages on one system."""

    def read(self, reference: str) -> Found:
        """Reads a message as it is now. Called from several threads.

        Raises:
            ServiceUnavailableError: the system cannot answer now.
            UsageError: what it holds is malformed.
            TriageError: it does not give the message.
        """


@dataclass(frozen=True, slots=True)
class Collected:
    """Numbers of readings.

    Attributes:
        done: accepted or withdrawn.
        ignored: nothing followed from them.
        postponed: a service was unavailable, or something was not there yet.
        stale: readings whose lease had ended, so that another reader may have made them too.
        reasons: dead messages by reason.
        unfinished: the time was up before everything due was read.
    """

    done: int = 0
    ignored: int = 0
    postponed: int = 0
    dead: int = 0
    stale: int = 0
    reasons: Mapping[ArrivalError, int] = field(default_factory=dict)
    unfinished: bool = False


class Collector:
    """Reads the messages of one source. Several processes may do so at the same time."""

    def __init__(
        self,
        sessions: Sessions,
        intake: Intake,
        source: str,
        reader: Reader,
        policy: RetakePolicy,
        *,
        rules: DeliveryRules = RULES,
        luck: Callable[[], float] = random.random,
        on_progress: Callable[[], None] = lambda: None,
    ) -> None:
        """
        Args:
            sessions: of the worker role.
            intake: accepts the messages.
            source: the system that holds them.
            reader: of that system.
            policy: decides messages that are withdrawn.
            rules: for retries.
            luck: a source of random numbers from 0 to 1.
            on_progress: called after each batch.
        """
        self._sessions = sessions
        self._intake = intake
        self._source = source
        self._reader = reader
        self._policy = policy
        self._rules = rules
        self._luck = luck
        self._on_progress = on_progress

    def collect(self, *, seconds: float) -> Collected:
        """Reads what is due, until nothing is, the time is up, or everything of a batch was postponed.

        A system that is down is therefore asked once for each batch and call.

        Raises:
            DatabaseUnavailableError: Postgres is unavailable. What was accepted and not recorded is read again.
        """
        worked = work_off(
            self._rules,
            self._read,
            self._record,
            goes_on=lambda each: each.status is not ArrivalStatus.PENDING,
            seconds=seconds,
            on_progress=self._on_progress,
        )
        n = Counter(each.status for each in worked.results)
        return Collected(
            done=n[ArrivalStatus.DONE],
            ignored=n[ArrivalStatus.IGNORED],
            postponed=n[ArrivalStatus.PENDING],
            dead=n[ArrivalStatus.DEAD],
            stale=worked.stale,
            reasons=Counter(each.error for each in worked.results if each.error is not None),
            unfinished=worked.unfinished,
        )

    def _read(self, pool: ThreadPoolExecutor) -> list[ArrivalResult]:
        with self._sessions.begin() as session:
            claimed = arrivals.claim(session, self._source, limit=self._rules.at_once, lease=self._rules.lease)
        return list(pool.map(self._take, claimed))

    def _take(self, arrival: ClaimedArrival) -> ArrivalResult:
        try:
            found = self._reader.read(arrival.reference)
            if self._may_appear(arrival, found):
                delay = delay_after(arrival.attempts, self._rules, asked=None, luck=self._luck())
                return ArrivalResult(arrival, ArrivalStatus.PENDING, retry_in=delay)
            return ArrivalResult(arrival, self._follow(arrival, found), found.version)
        except DatabaseUnavailableError:
            raise
        except ServiceUnavailableError as error:
            log.warning("arrival.postponed", error_type=type(error).__name__, kind=error.kind)
            delay = delay_after(arrival.attempts, self._rules, asked=error.retry_after, luck=self._luck())
            return ArrivalResult(arrival, ArrivalStatus.PENDING, retry_in=delay)
        except UsageError:
            return ArrivalResult(arrival, ArrivalStatus.DEAD, error=ArrivalError.MALFORMED)
        except TriageError:
            return ArrivalResult(arrival, ArrivalStatus.DEAD, error=ArrivalError.REJECTED)
        except Exception as error:  # a defect, which must not keep the other messages of its batch from being recorded
            log.error("arrival.broke", exc_info=error)
            return ArrivalResult(arrival, ArrivalStatus.DEAD, error=ArrivalError.DEFECT)

    def _may_appear(self, arrival: ClaimedArrival, found: Found) -> bool:
        """Whether a later reading may find the message, or a photo, that its system does not have now."""
        if arrival.attempts >= PATIENCE:
            return False
        if not found.is_absent:
            return found.lacks_photo
        name = arrival.reference
        return not found.is_withdrawn or name not in known_messages(self._sessions, [name], source=self._source)

    def _record(self, results: list[ArrivalResult]) -> int:
        with self._sessions.begin() as session:
            return arrivals.record(session, results)

    def _follow(self, arrival: ClaimedArrival, found: Found) -> ArrivalStatus:
        name, source = arrival.reference, self._source
        followed = follow(self._sessions, self._intake, {name: found}, source=source, by=source, policy=self._policy)
        return ArrivalStatus.DONE if {*followed.accepted, *followed.withdrawn} else ArrivalStatus.IGNORED
