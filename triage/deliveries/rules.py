"""When a failed delivery is attempted again, and when it is dead: pure rules.

Delays double from attempt to attempt, so a short fault is over quickly and a long one costs few requests. A random part
keeps many deliveries that failed together from coming back together.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from triage.domain.deliveries import Answer, Attempted, ClaimedDelivery
from triage.domain.states import DeliveryError, DeliveryStatus

_MAX_DOUBLINGS: Final = 32


@dataclass(frozen=True, slots=True)
class DeliveryRules:
    """
    Attributes:
        first_delay: before the second attempt.
        longest_delay: upper limit of all delays, also of those that a target asks for.
        give_up_after: time from the first attempt to the last. The last attempt is made at its end.
        lease: time after which a delivery without a result is attempted again; longer than an attempt takes.
        at_once: deliveries that are attempted at the same time.
    """

    first_delay: timedelta = timedelta(seconds=5)
    longest_delay: timedelta = timedelta(hours=1)
    give_up_after: timedelta = timedelta(hours=24)
    lease: timedelta = timedelta(seconds=30)
    at_once: int = 8


def judge(delivery: ClaimedDelivery, answer: Answer, rules: DeliveryRules, *, luck: float) -> Attempted:
    """Decides what becomes of a delivery after an attempt.

    Args:
        delivery: as claimed.
        answer: of the target.
        rules: the limits.
        luck: a random number from 0 to 1.
    """
    if answer.error is None:
        return Attempted(delivery, answer, DeliveryStatus.DELIVERED)
    left = rules.give_up_after - delivery.since_first
    if answer.error is DeliveryError.GONE or left <= timedelta(0):
        return Attempted(delivery, answer, DeliveryStatus.DEAD)
    delay = delay_after(delivery.attempts, rules, asked=answer.retry_after, luck=luck)
    return Attempted(delivery, answer, DeliveryStatus.PENDING, retry_in=min(delay, left))


def delay_after(attempts: int, rules: DeliveryRules, *, asked: timedelta | None, luck: float) -> timedelta:
    """The delay after a number of failed attempts, at least the one that the other system asks for.

    Args:
        attempts: at least one.
        rules: the limits.
        asked: by the other system, if it did.
        luck: a random number from 0 to 1.
    """
    doublings = min(max(0, attempts - 1), _MAX_DOUBLINGS)
    delay: timedelta = min(rules.first_delay * 2**doublings, rules.longest_delay) * (0.5 + luck / 2)
    return max(delay, min(asked or timedelta(0), rules.longest_delay))
