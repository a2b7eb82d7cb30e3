"""Sends due deliveries to one target, several at the same time.

An attempt is outside of any transaction. The lease is the only record that it began: a sender that is killed between
the request and the record of its answer leaves a delivery that another attempts again, with the same event id.
"""

import random
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Generic, Protocol, TypeVar

import structlog
from sqlalchemy.orm import Session

from triage.deliveries.rules import DeliveryRules, judge
from triage.domain.deliveries import Answer, Attempted, ClaimedDelivery
from triage.domain.ids import EventId
from triage.domain.states import DeliveryError, DeliveryStatus
from triage.storage import deliveries
from triage.storage.database import Sessions, persist

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
        deadline = time.monotonic() + seconds
        total = Dispatched()
        with ThreadPoolExecutor(self._rules.at_once, thread_name_prefix="deliveries") as pool:
            while time.monotonic() < deadline:
                attempted = self._attempt(pool)
                if not attempted:
                    return total
                total = _add(total, attempted, stale=len(attempted) - self._record(attempted))
                self._on_progress()
                if all(each.answer.error for each in attempted):
                    return total
        return replace(total, unfinished=True)

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

    def _send(self, item: Item) -> Answer:
        try:
            return self._receiver.send(item)
        except (
            Exception
        ) as error:  # a defect, which must not keep the other deliveries of its batch from being recorded
            log.error("delivery.broke", exc_info=error)
            return Answer(DeliveryError.DEFECT)

    def _record(self, attempted: list[Attempted]) -> int:
        def transaction() -> int:
            with self._sessions.begin() as session:
                return deliveries.record(session, attempted)

        return persist(transaction, patience_seconds=self._rules.lease.total_seconds() / 2)


def _add(total: Dispatched, attempted: list[Attempted], *, stale: int) -> Dispatched:
    by_status = [each.status for each in attempted]
    errors = dict(total.errors)
    for each in attempted:
        if each.answer.error is not None:
            errors[each.answer.error] = errors.get(each.answer.error, 0) + 1
    return replace(
        total,
        delivered=total.delivered + by_status.count(DeliveryStatus.DELIVERED),
        failed=total.failed + by_status.count(DeliveryStatus.PENDING),
        dead=total.dead + by_status.count(DeliveryStatus.DEAD),
        dropped=total.dropped + by_status.count(DeliveryStatus.DROPPED),
        stale=total.stale + stale,
        errors=errors,
    )
