from datetime import timedelta
from itertools import count

import pytest

from triage.deliveries.rules import DeliveryRules, judge
from triage.domain.deliveries import Answer, ClaimedDelivery
from triage.domain.ids import EventId, LeaseToken, MessageId, new_id
from triage.domain.states import DeliveryError, DeliveryStatus, EventKind

RULES = DeliveryRules(
    first_delay=timedelta(seconds=5), longest_delay=timedelta(hours=1), give_up_after=timedelta(hours=24)
)
DOWN = Answer(DeliveryError.UNREACHABLE)


def _claimed(attempts: int, since_first: timedelta = timedelta(0)) -> ClaimedDelivery:
    return ClaimedDelivery(
        EventId(new_id()),
        EventKind.MESSAGE_DECIDED,
        MessageId(new_id()),
        new_id(),
        attempts,
        since_first,
        LeaseToken(new_id()),
    )


def _delay(attempts: int, answer: Answer = DOWN, *, luck: float = 1.0) -> float:
    retry_in = judge(_claimed(attempts), answer, RULES, luck=luck).retry_in
    assert retry_in is not None
    return retry_in.total_seconds()


def test_delivery_is_delivered_when_the_target_accepts() -> None:
    judged = judge(_claimed(1), Answer(status=204), RULES, luck=0.5)

    assert (judged.status, judged.retry_in) == (DeliveryStatus.DELIVERED, None)


def test_delay_doubles_up_to_its_limit() -> None:
    assert [_delay(n) for n in (1, 2, 3, 4)] == [5, 10, 20, 40]
    assert _delay(20) == _delay(30_000) == 3600


def test_delay_is_spread_when_many_deliveries_fail_together() -> None:
    assert (_delay(3, luck=0.0), _delay(3, luck=0.5), _delay(3, luck=1.0)) == (10, 15, 20)


def test_target_gets_the_pause_that_it_asks_for_up_to_the_limit() -> None:
    def asks(seconds: int) -> Answer:
        return Answer(DeliveryError.REFUSED, 429, timedelta(seconds=seconds))

    assert (_delay(1, asks(90)), _delay(1, asks(1)), _delay(1, asks(10**6))) == (90, 5, 3600)


def test_delivery_is_retried_to_the_end_of_the_day_and_dead_after_it() -> None:
    now, attempts = timedelta(0), 0
    for attempts in count(1):
        judged = judge(_claimed(attempts, now), DOWN, RULES, luck=0.5)
        if judged.retry_in is None:
            break
        now += judged.retry_in

    assert (judged.status, now) == (DeliveryStatus.DEAD, timedelta(hours=24))
    assert 30 < attempts < 60


@pytest.mark.parametrize("status", [400, 401, 404, 500, 503])
def test_refused_delivery_is_retried_since_the_receiver_may_be_repaired(status: int) -> None:
    assert judge(_claimed(1), Answer(DeliveryError.REFUSED, status), RULES, luck=0).status is DeliveryStatus.PENDING


def test_delivery_is_dead_at_once_when_the_target_is_gone() -> None:
    assert judge(_claimed(1), Answer(DeliveryError.GONE, 410), RULES, luck=0).status is DeliveryStatus.DEAD
