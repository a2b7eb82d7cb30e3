"""Events are stored with what happened, sent at least once, and never lost."""

import random
import threading
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy.orm import Session

from tests.support.clinic import Clinic
from triage.blobs.store import BlobStore
from triage.deliveries import manage
from triage.deliveries.dispatch import Dispatched, Dispatcher
from triage.deliveries.rules import DeliveryRules
from triage.domain.deliveries import Answer, ClaimedDelivery, Delivery, Event
from triage.domain.ids import EventId, RetakeRequestId, new_id
from triage.domain.states import DeliveryError, DeliveryStatus, EventKind, Outcome
from triage.errors import TriageError, UsageError
from triage.retakes import requests
from triage.retakes.override import override
from triage.retention.archive import archive_threads, count_archivable
from triage.retention.forget import forget
from triage.retention.purge import Retention
from triage.storage import deliveries

AT_ONCE = DeliveryRules(first_delay=timedelta(0), longest_delay=timedelta(0))
OK, DOWN, GONE = Answer(status=204), Answer(DeliveryError.UNREACHABLE), Answer(DeliveryError.GONE, 410)


@dataclass
class Recorder:
    """A receiver that keeps what it gets, and answers as told."""

    answer: Callable[[Event], Answer] = lambda _: OK
    got: list[Event] = field(default_factory=list)

    def load(self, session: Session, claimed: Collection[ClaimedDelivery]) -> Mapping[EventId, Event]:
        return deliveries.load_events(session, claimed)

    def send(self, item: Event) -> Answer:
        self.got.append(item)
        return self.answer(item)

    def record(self, session: Session, accepted: Collection[ClaimedDelivery]) -> None:
        pass

    @property
    def kinds(self) -> list[tuple[str, str]]:
        return sorted((event.message, event.kind.value) for event in self.got)


def _answering(answer: Answer) -> Recorder:
    return Recorder(answer=lambda _: answer)


def _dispatch(clinic: Clinic, receiver: Recorder, rules: DeliveryRules = AT_ONCE) -> Dispatched:
    return Dispatcher(clinic.sessions, "webhook", receiver, rules).dispatch(seconds=60)


def _list(clinic: Clinic) -> list[Delivery]:
    return manage.list_deliveries(clinic.sessions, limit=10_000)


def _states(clinic: Clinic) -> Counter[str]:
    return Counter(each.status.value for each in _list(clinic))


def _decide(clinic: Clinic, *messages: str, score: str = "0.9") -> None:
    for message in messages:
        clinic.send(message, score)
    clinic.drain()


def _forget(clinic: Clinic, message: str, folder: Path) -> None:
    retention = Retention(clinic.sessions, BlobStore(str(folder)), keep=None)
    forget(clinic.sessions, retention, message, by="op-1", reason="request-1", policy=clinic.policy)


@pytest.fixture
def told(clinic: Clinic) -> Clinic:
    """A clinic whose events are for one target."""
    manage.register(clinic.sessions, "webhook")
    return clinic


def test_nothing_is_stored_without_a_target(clinic: Clinic) -> None:
    _decide(clinic, "m-1", score="0.2")
    override(clinic.sessions, "m-1", Outcome.PASS, by="staff-7", reason="seen", policy=clinic.policy)

    assert _list(clinic) == []


def test_each_event_is_sent_once_with_its_ids_and_codes(told: Clinic) -> None:
    told.send("m-1", "0.2", thread="t-1")
    told.send("m-2", "0.9")
    told.drain()
    override(told.sessions, "m-1", Outcome.PASS, by="staff-7", reason="seen", policy=told.policy)
    receiver = Recorder()

    assert _dispatch(told, receiver).delivered == 5
    assert receiver.kinds == [
        ("m-1", "message.decided"),
        ("m-1", "message.decided"),
        ("m-1", "retake.requested"),
        ("m-1", "retake.withdrawn"),
        ("m-2", "message.decided"),
    ]
    [(request_id,)] = told.query("SELECT id FROM retake_request")
    asked = [event for event in receiver.got if event.request]
    assert {event.request.id for event in asked if event.request} == {request_id}
    assert {event.kind for event in asked} == set(EventKind) - {EventKind.RETAKE_ANSWERED}
    assert {event.thread for event in asked} == {"t-1"}
    outcomes = {(e.decision.outcome, e.decision.decided_by) for e in receiver.got if e.decision and e.message == "m-1"}
    assert outcomes == {("retake", "model"), ("pass", "person")}
    assert _dispatch(told, receiver) == Dispatched()
    assert _states(told) == {"delivered": 5}


def test_event_is_not_stored_when_its_decision_is_rolled_back(told: Clinic) -> None:
    told.execute("CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE ''no''; END'")
    told.execute(
        "CREATE CONSTRAINT TRIGGER fails AFTER INSERT ON decision DEFERRABLE INITIALLY DEFERRED "
        "FOR EACH ROW EXECUTE FUNCTION fail()"
    )
    with pytest.raises(TriageError):
        _decide(told, "m-1")

    assert _list(told) == []


def test_each_target_gets_each_event_under_an_id_of_its_own(told: Clinic) -> None:
    manage.register(told.sessions, "fhir")
    _decide(told, "m-1")

    events = {each.target: each.id for each in _list(told)}
    assert set(events) == {"fhir", "webhook"}
    assert len(set(events.values())) == 2


def test_withdrawal_by_a_person_is_an_event(told: Clinic) -> None:
    _decide(told, "m-1", score="0.2")
    [(request_id,)] = told.query("SELECT id FROM retake_request")
    requests.withdraw(told.sessions, RetakeRequestId(request_id), by="staff-7")
    receiver = Recorder()
    _dispatch(told, receiver)

    [event] = [event for event in receiver.got if event.kind is EventKind.RETAKE_WITHDRAWN]
    assert event.request is not None
    assert event.request.withdrawn_reason == "withdrawn_by_person"


def test_failed_event_is_repeated_with_the_same_id_until_it_is_accepted(told: Clinic) -> None:
    _decide(told, "m-1")
    receiver = Recorder(answer=lambda _: DOWN if len(receiver.got) < 4 else OK)

    results = [_dispatch(told, receiver) for _ in range(4)]

    assert [(each.failed, each.delivered) for each in results] == [(1, 0), (1, 0), (1, 0), (0, 1)]
    assert len({event.id for event in receiver.got}) == 1
    [delivery] = _list(told)
    assert (delivery.status, delivery.attempts, delivery.error) == (DeliveryStatus.DELIVERED, 4, None)


def test_failed_event_waits_as_long_as_its_receiver_asks(told: Clinic) -> None:
    _decide(told, "m-1")
    busy = _answering(Answer(DeliveryError.REFUSED, 429, timedelta(minutes=5)))
    before = datetime.now(UTC)
    _dispatch(told, busy, DeliveryRules())

    assert _dispatch(told, busy, DeliveryRules()) == Dispatched()
    [delivery] = _list(told)
    assert (delivery.status, delivery.error, delivery.answer) == (DeliveryStatus.PENDING, DeliveryError.REFUSED, 429)
    assert delivery.due_at is not None
    assert timedelta(minutes=4) < delivery.due_at - before < timedelta(minutes=30)


def test_target_that_is_down_is_asked_for_one_batch_only(told: Clinic) -> None:
    _decide(told, *(f"m-{number}" for number in range(20)))
    receiver = _answering(DOWN)

    _dispatch(told, receiver, DeliveryRules(at_once=4))

    assert len(receiver.got) == 4


def test_event_is_dead_after_a_day_and_sent_when_a_person_retries_it(told: Clinic) -> None:
    _decide(told, "m-1")
    _dispatch(told, _answering(DOWN))
    told.execute("UPDATE delivery SET first_attempt_at = first_attempt_at - interval '25 hours'")

    assert _dispatch(told, _answering(DOWN)).dead == 1
    receiver = Recorder()
    assert _dispatch(told, receiver) == Dispatched()
    [dead] = _list(told)
    assert dead.status is DeliveryStatus.DEAD
    assert manage.retry(told.sessions, by="op-1") == [dead.id]
    assert _dispatch(told, receiver).delivered == 1
    assert [event.id for event in receiver.got] == [dead.id]


def test_retried_event_has_its_whole_day_again(told: Clinic) -> None:
    _decide(told, "m-1")
    _dispatch(told, _answering(GONE))
    told.execute("UPDATE delivery SET first_attempt_at = first_attempt_at - interval '25 hours'")
    manage.retry(told.sessions, by="op-1")

    assert _dispatch(told, _answering(DOWN)).failed == 1


def test_waiting_event_is_due_at_once_when_a_person_retries_it(told: Clinic) -> None:
    _decide(told, "m-1")
    _dispatch(told, _answering(DOWN), DeliveryRules())
    [delivery] = _list(told)
    assert _dispatch(told, Recorder()) == Dispatched()

    manage.retry(told.sessions, event_id=delivery.id, by="op-1")

    assert _dispatch(told, Recorder()).delivered == 1


def test_dropped_event_is_never_sent(told: Clinic) -> None:
    _decide(told, "m-1", "m-2", "m-3")
    first, *_ = _list(told)
    manage.drop(told.sessions, event_id=first.id, by="op-1")
    _dispatch(told, _answering(GONE))

    assert len(manage.drop(told.sessions, target="webhook", by="op-1")) == 2
    assert _dispatch(told, Recorder()) == Dispatched()
    assert _states(told) == {"dropped": 3}
    actions = [row.action for row in told.query("SELECT action FROM audit_event WHERE actor = 'op-1'")]
    assert sorted(actions) == ["deliveries.dropped", "delivery.dropped"]


@pytest.mark.parametrize("change", [manage.retry, manage.drop])
def test_change_is_refused_when_the_event_is_unknown_or_finished(told: Clinic, change: Callable[..., object]) -> None:
    _decide(told, "m-1")
    _dispatch(told, Recorder())
    [delivered] = _list(told)

    with pytest.raises(UsageError, match="no delivery has this event id"):
        change(told.sessions, event_id=EventId(new_id()), by="op-1")
    with pytest.raises(UsageError, match="it is delivered"):
        change(told.sessions, event_id=delivered.id, by="op-1")


def test_event_that_is_being_sent_cannot_be_retried(told: Clinic) -> None:
    _decide(told, "m-1")
    [delivery] = _list(told)

    def retry_it(_: Event) -> Answer:
        with pytest.raises(UsageError, match="being sent now"):
            manage.retry(told.sessions, event_id=delivery.id, by="op-1")
        return OK

    assert _dispatch(told, Recorder(answer=retry_it)).delivered == 1


def test_stopped_target_gets_no_more_events(told: Clinic) -> None:
    _decide(told, "m-1")

    assert manage.stop(told.sessions, "webhook", by="op-1").dropped == 1
    _decide(told, "m-2")

    assert _states(told) == {"dropped": 1}
    with pytest.raises(UsageError, match="no such target"):
        manage.stop(told.sessions, "webhook", by="op-1")


def test_event_is_sent_again_when_its_sender_died_before_it_recorded_the_answer(told: Clinic) -> None:
    _decide(told, "m-1")
    with told.sessions.begin() as session:
        [claimed] = deliveries.claim(session, "webhook", limit=9, lease=timedelta(hours=1))
    second = Recorder()
    assert _dispatch(told, second) == Dispatched()  # the lease holds

    told.execute("UPDATE delivery SET due_at = clock_timestamp()")  # it has ended

    assert _dispatch(told, second).delivered == 1
    assert [event.id for event in second.got] == [claimed.id]


def test_late_answer_changes_nothing_when_another_sender_has_taken_over(told: Clinic) -> None:
    _decide(told, "m-1")

    def lose_lease(_: Event) -> Answer:
        told.execute("UPDATE delivery SET due_at = clock_timestamp()")
        assert _dispatch(told, Recorder()).delivered == 1
        return DOWN

    assert _dispatch(told, Recorder(answer=lose_lease)).stale == 1
    assert _states(told) == {"delivered": 1}


def test_defect_of_one_event_keeps_no_other_from_being_recorded(told: Clinic) -> None:
    _decide(told, "m-1", "m-2")

    def break_one(event: Event) -> Answer:
        if event.message == "m-1":
            raise KeyError("a defect")
        return OK

    sent = _dispatch(told, Recorder(answer=break_one), DeliveryRules())
    assert (sent.delivered, sent.failed, sent.errors) == (1, 1, {DeliveryError.DEFECT: 1})


def test_senders_share_the_events_and_none_is_sent_twice(told: Clinic) -> None:
    _decide(told, *(f"m-{number}" for number in range(60)))
    receiver = Recorder()
    threads = [threading.Thread(target=_dispatch, args=(told, receiver)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(receiver.got) == len({event.id for event in receiver.got}) == 60


def test_no_event_is_lost_when_a_fifth_of_the_answers_fail(told: Clinic) -> None:
    """Repeats carry the same event id, and each event is accepted once."""
    _decide(told, *(f"m-{number}" for number in range(200)), score="0.2")
    assert _states(told) == {"pending": 400}
    dice, accepted = random.Random(7), Counter[EventId]()

    def answer(event: Event) -> Answer:
        if dice.random() < 0.2:
            return dice.choice([DOWN, Answer(DeliveryError.REFUSED, 500), Answer(DeliveryError.TIMED_OUT)])
        accepted[event.id] += 1
        return OK

    receiver = Recorder(answer=answer)
    while _states(told)["pending"]:
        _dispatch(told, receiver)

    assert len(receiver.got) > 450
    assert accepted == {each.id: 1 for each in _list(told)}
    assert len(accepted) == 400


def test_forgotten_message_is_not_told_of_and_its_withdrawal_is(told: Clinic, tmp_path: Path) -> None:
    told.send("m-1", "0.2", thread="t-1")
    told.send("m-2", "0.9")
    told.drain()
    _forget(told, "m-1", tmp_path)
    receiver = Recorder()
    _dispatch(told, receiver)

    assert sorted((event.message.partition(":")[0], event.kind.value) for event in receiver.got) == [
        ("forgotten", "retake.withdrawn"),
        ("m-2", "message.decided"),
    ]
    assert "t-1" not in {event.thread for event in receiver.got}
    assert _states(told) == {"delivered": 2, "dropped": 2}


def test_message_that_is_forgotten_before_its_decision_is_not_told_of(told: Clinic, tmp_path: Path) -> None:
    told.send("m-1", "0.2")
    _forget(told, "m-1", tmp_path)

    assert _dispatch(told, Recorder()) == Dispatched()


def test_purge_deletes_finished_deliveries_after_a_month(told: Clinic, tmp_path: Path) -> None:
    for message in ("old", "new", "dead"):
        _decide(told, message)
        _dispatch(told, Recorder(answer=lambda event: GONE if event.message == "dead" else OK))
    told.execute(
        "UPDATE delivery SET finished_at = finished_at - interval '31 days' "
        "WHERE message_id IN (SELECT id FROM message WHERE external_id <> 'new')"
    )
    Retention(told.sessions, BlobStore(str(tmp_path)), keep=None).purge(actor="op-1")

    assert sorted((each.message, each.status.value) for each in _list(told)) == [("dead", "dead"), ("new", "delivered")]


def test_thread_is_archived_only_when_its_events_are_sent(told: Clinic, tmp_path: Path) -> None:
    _decide(told, "m-1")
    later = datetime.now(UTC) + timedelta(hours=1)
    assert count_archivable(told.sessions, before=later) == 0

    _dispatch(told, Recorder())

    assert count_archivable(told.sessions, before=later) == 1
    [batch] = archive_threads(told.sessions, tmp_path, before=later, actor="op-1")
    assert batch.counts["messages"] == 1
    assert _list(told) == []
