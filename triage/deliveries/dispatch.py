"""Sends due deliveries to one target, several at the same time.

An attempt is outside of any transaction. The lease is the only record that it began: a sender that is killed between
the request and the record of its answer leaves a delivery that another attempts again, with the same event id.
"""

import random
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

import structlog
from sqlalchemy.orm import Session

from triage.deliveries.batches import work_off
from triage.deliveries.rules import DeliveryRules, judge
from triage.domain.deliveries import Answer, Attempted, ClaimedDelivery
from triage.domain.ids import EventId
from triage.domain.states import DeliveryError, DeliveryStatus
from triage.storage import deliveries
from triage.storage.database import Sessions

log = structlog.get_logger(__name__)

Item = TypeVar("Item")


class Receiver(Protocol[Item]):
    """A system that is notified of events."""

    def load(self, session: Session, claimed: Collection[ClaimedDelivery]) -> Mapping[EventId, Item]:
        """Reads what is sent. A delivery without an item is dropped: what it speaks of is gone."""

    def send(self, item: Item) -> Answer:
        """Makes one attempt. Called from several threads. It raises no error, takes less time than the lease, and may
        be called again for the same event.
        """

    def record(self, session: Session, accepted: Collection[ClaimedDelivery]) -> None:
        """Records what follows from these deliveries, in the transaction that records that they were accepted."""


@dataclass(frozen=True, slots=True)
class Dispatched:
    """Numbers of attempts.

    Attributes:
        stale: attempts whose lease had ended, so that another sender may have made them too.
        errors: failed attempts by reason.
        unfinished: the time was up before everything due was attempted.
    """

    delivered: int = 0
    failed: int = 0
    dead: int = 0
    dropped: int = 0
    stale: int = 0
    errors: Mapping[DeliveryError, int] = field(default_factory=dict)
    unfinished: bool = False


class Dispatcher(Generic[Item]):
    """Sends the deliveries of one target. Several processes may do so at the same time."""

    def __init__(
        self,
        sessions: Sessions,
        target: str,
        receiver: Receiver[Item],
        rules: DeliveryRules,
        *,
        luck: Callable[[], float] = random.random,
        on_progress: Callable[[], None] = lambda: None,
    ) -> None:
        """
        Args:
            sessions: of the worker role.
            target: its name in the database.
            receiver: sends.
            rules: for retries.
            luck: a source of random numbers from 0 to 1.
            on_progress: called after each batch.
        """
        self._sessions = sessions
        self._target = target
        self._receiver = receiver
        self._rules = rules
        self._luck = luck
        self._on_progress = on_progress

    def dispatch(self, *, seconds: float) -> Dispatched:
        """Attempts what is due, until nothing is, the time is up, or no attempt of a batch succeeded.

        A target that is down is therefore asked once for each batch and call.

        Raises:
            DatabaseUnavailableError: Postgres is unavailable. What was sent and not recorded is attempted again.
        """
        worked = work_off(
            self._rules,
            self._attempt,
            self._record,
            goes_on=lambda each: each.answer.error is None,
            seconds=seconds,
            on_progress=self._on_progress,
        )
        n = Counter(each.status for each in worked.results)
        return Dispatched(
            delivered=n[DeliveryStatus.DELIVERED],
            failed=n[DeliveryStatus.PENDING],
            dead=n[DeliveryStatus.DEAD],
            dropped=n[DeliveryStatus.DROPPED],
            stale=worked.stale,
            errors=Counter(each.answer.error for each in worked.results if each.answer.error is not None),
            unfinished=worked.unfinished,
        )

    def _attempt(self, pool: ThreadPoolExecutor) -> list[Attempted]:
        with self._sessions.begin() as session:
            claimed = deliveries.claim(session, self._target, limit=self._rules.at_once, lease=self._rules.lease)
            items = self._receiver.load(session, claimed) if claimed else {}
        answers = dict(zip(items, pool.map(self._send, items.values()), strict=True))
        return [
            judge(each, answers[each.id], self._rules, luck=self._luck())
            if each.id in answers
            else Attempted(each, Answer(), DeliveryStatus.DROPPED)
            for each in claimed
        ]

    def _record(self, attempted: list[Attempted]) -> int:
        with self._sessions.begin() as session:
            accepted = [each.delivery for each in attempted if each.status is DeliveryStatus.DELIVERED]
            self._receiver.record(session, accepted)
            return deliveries.record(session, attempted)

    def _send(self, item: Item) -> Answer:
        try:
            return self._receiver.send(item)
        except Exception as error:  # a defect, which must not keep the rest of its batch from being recorded
            log.error("delivery.broke", exc_info=error)
            return Answer(DeliveryError.DEFECT)
