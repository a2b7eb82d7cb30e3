"""Messages of another system are read there: each announced one, none lost, and none accepted twice."""

import random
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest

from tests.support.clinic import Clinic
from triage.arrivals.announce import MAX_EVENTS, Noticed, announce, has_work, notify
from triage.arrivals.reading import PATIENCE, Collected, Collector
from triage.arrivals.search import Searcher
from triage.blobs.store import BlobStore
from triage.deliveries.rules import DeliveryRules
from triage.domain.arrivals import Events, Found
from triage.domain.ids import RetakeRequestId, new_id
from triage.domain.messages import IncomingAttachment, IncomingMessage
from triage.domain.states import ArrivalError
from triage.errors import ErrorCode, ServiceUnavailableError, TriageError, UsageError
from triage.retakes import requests
from triage.retention.archive import archive_threads
from triage.retention.forget import forget
from triage.retention.purge import Retention
from triage.storage import arrivals
from worker.tasks.base import WorkerServices

AT_ONCE = DeliveryRules(first_delay=timedelta(0), longest_delay=timedelta(0), at_once=4)
IGNORED, WITHDRAWN = Found("1"), Found("2", is_withdrawn=True)


def _message(reference: str, score: str = "0.9") -> Found:
    photo = IncomingAttachment(uri=f"file:///in/{reference}/{score}", external_id="1")
    return Found("1", IncomingMessage("ehr", reference, [photo]))


@dataclass
class Ehr:
    """A system that answers as told, and remembers what was read and searched."""

    answer: Callable[[str], Found] = _message
    read_: list[str] = field(default_factory=list)
    found: Mapping[str, str | None] = field(default_factory=dict)
    searches: list[datetime] = field(default_factory=list)

    def read(self, reference: str) -> Found:
        self.read_.append(reference)
        return self.answer(reference)

    def find(self, since: datetime) -> Mapping[str, str | None]:
        self.searches.append(since)
        return self.found


def _collect(clinic: Clinic, ehr: Ehr, rules: DeliveryRules = AT_ONCE) -> Collected:
    return Collector(clinic.sessions, clinic.intake, "ehr", ehr, clinic.policy, rules=rules).collect(seconds=60)


def _announce(clinic: Clinic, *references: str, version: str | None = None) -> int:
    return announce(clinic.sessions, "ehr", dict.fromkeys(references, version))


def _states(clinic: Clinic) -> Counter[str]:
    return Counter(row.status for row in clinic.query("SELECT status FROM arrival"))


def _messages(clinic: Clinic) -> list[str]:
    return [row.external_id for row in clinic.query("SELECT external_id FROM message ORDER BY external_id")]


def _failing(error: Exception) -> Ehr:
    def fail(_: str) -> Found:
        raise error

    return Ehr(fail)


def test_announced_message_is_read_and_accepted_once(clinic: Clinic) -> None:
    ehr = Ehr()
    assert _announce(clinic, "m-1", "m-2") == 2
    assert _announce(clinic, "m-1") == 0  # it waits already

    assert _collect(clinic, ehr).done == 2
    assert _collect(clinic, ehr) == Collected()
    assert _messages(clinic) == sorted(ehr.read_) == ["m-1", "m-2"]
    assert _states(clinic) == {"done": 2}


def test_version_that_was_read_is_not_read_again_and_another_is(clinic: Clinic) -> None:
    ehr = Ehr()
    _announce(clinic, "m-1", version="1")
    _collect(clinic, ehr)

    assert _announce(clinic, "m-1", version="1") == 0
    assert _announce(clinic, "m-1", version="2") == 1
    assert _collect(clinic, ehr).done == 1
    assert _announce(clinic, "m-1") == 1  # a hook does not say which version
    assert _collect(clinic, ehr).done == 1
    assert _messages(clinic) == ["m-1"]


def test_claim_about_the_version_is_replaced_by_what_was_read(clinic: Clinic) -> None:
    _announce(clinic, "m-1", version="2")
    _collect(clinic, Ehr())

    assert _announce(clinic, "m-1", version="2") == 1


def test_message_is_read_again_when_it_is_announced_while_it_is_read(clinic: Clinic) -> None:
    def change(reference: str) -> Found:
        assert _announce(clinic, reference) == 1
        ehr.answer = lambda _: WITHDRAWN
        return _message(reference, "0.2")

    ehr = Ehr(change)
    _announce(clinic, "m-1")

    assert _collect(clinic, ehr).done == 2
    assert ehr.read_ == ["m-1", "m-1"]
    clinic.drain()
    assert clinic.requests() == []


def test_open_request_is_withdrawn_when_its_message_is(clinic: Clinic) -> None:
    ehr = Ehr(lambda reference: _message(reference, "0.2"))
    _announce(clinic, "m-1", "m-2")
    _collect(clinic, ehr)
    clinic.drain()
    assert sorted(clinic.requests()) == [("m-1", "flagged"), ("m-2", "flagged")]

    ehr.answer = lambda _: WITHDRAWN
    _announce(clinic, "m-1")
    assert _collect(clinic, ehr).done == 1
    _announce(clinic, "m-1")
    _collect(clinic, ehr)

    assert sorted(clinic.requests()) == [("m-1", "withdrawn"), ("m-2", "flagged")]
    assert len(clinic.query("SELECT 1 FROM audit_event WHERE action = 'message.opted_out' AND actor = 'ehr'")) == 1


@pytest.mark.parametrize("found", [IGNORED, WITHDRAWN])
def test_message_without_consequence_is_ignored(clinic: Clinic, found: Found) -> None:
    _announce(clinic, "m-1")

    assert _collect(clinic, Ehr(lambda _: found)).ignored == 1
    assert _messages(clinic) == []


def test_message_waits_while_its_system_is_down_and_is_asked_once_a_batch(clinic: Clinic) -> None:
    references = [f"m-{number}" for number in range(20)]
    _announce(clinic, *references)
    down = _failing(ServiceUnavailableError("down"))

    for _ in range(50):
        assert _collect(clinic, down).postponed == 4
    assert len(down.read_) == 200
    assert _collect(clinic, Ehr()).done == 20
    assert len(_messages(clinic)) == 20


def test_system_that_asks_for_a_delay_is_left_alone(clinic: Clinic) -> None:
    _announce(clinic, "m-1")
    _collect(clinic, _failing(ServiceUnavailableError("busy", retry_after=timedelta(minutes=5))), DeliveryRules())

    assert _collect(clinic, Ehr()) == Collected()
    [row] = clinic.query("SELECT due_at - clock_timestamp() AS delay, error FROM arrival")
    assert timedelta(minutes=4) < row.delay <= timedelta(minutes=5)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (UsageError("no Communication"), ArrivalError.MALFORMED),
        (TriageError("status 400"), ArrivalError.REJECTED),
        (KeyError("a defect"), ArrivalError.DEFECT),
    ],
)
def test_message_that_cannot_be_read_is_dead_until_it_changes(
    clinic: Clinic, error: Exception, reason: ArrivalError
) -> None:
    _announce(clinic, "m-1", "m-2", version="1")

    def one_fails(reference: str) -> Found:
        if reference == "m-1":
            raise error
        return _message(reference)

    collected = _collect(clinic, Ehr(one_fails))
    assert (collected.done, collected.dead, collected.reasons) == (1, 1, {reason: 1})
    assert _announce(clinic, "m-1", version="1") == 0
    assert _states(clinic) == {"dead": 1, "done": 1}

    _announce(clinic, "m-1", version="2")
    assert _collect(clinic, Ehr()).done == 1
    assert _states(clinic) == {"done": 2}


ABSENT = Found(is_withdrawn=True, is_absent=True)


def test_new_message_that_is_not_there_yet_is_read_again(clinic: Clinic) -> None:
    ehr = Ehr(lambda _: ABSENT)
    _announce(clinic, "m-1")
    for _ in range(3):
        assert _collect(clinic, ehr).postponed == 1

    assert _collect(clinic, Ehr()).done == 1
    clinic.drain()
    assert [row.opted_out for row in clinic.query("SELECT opted_out FROM message")] == [False]


def test_new_message_that_never_appears_is_ignored_until_it_is_found(clinic: Clinic) -> None:
    _announce(clinic, "m-1", version="1")
    results = [_collect(clinic, Ehr(lambda _: ABSENT)) for _ in range(PATIENCE)]

    assert [(each.postponed, each.ignored) for each in results] == [(1, 0)] * (PATIENCE - 1) + [(0, 1)]
    assert clinic.query("SELECT 1 FROM audit_event WHERE action = 'message.opted_out'") == []
    assert _announce(clinic, "m-1", version="1") == 1  # a search finds what was never read
    assert _collect(clinic, Ehr()).done == 1


def test_known_message_that_is_absent_is_withdrawn_at_once(clinic: Clinic) -> None:
    _announce(clinic, "m-1")
    _collect(clinic, Ehr(lambda reference: _message(reference, "0.2")))
    clinic.drain()

    _announce(clinic, "m-1")
    assert _collect(clinic, Ehr(lambda _: ABSENT)).done == 1

    assert clinic.requests() == [("m-1", "withdrawn")]


@pytest.mark.parametrize("is_known", [False, True])
def test_message_that_is_absent_and_not_withdrawn_is_ignored_after_a_while(clinic: Clinic, is_known: bool) -> None:
    if is_known:
        _announce(clinic, "m-1")
        _collect(clinic, Ehr(lambda reference: _message(reference, "0.2")))
        clinic.drain()
    _announce(clinic, "m-1")

    results = [_collect(clinic, Ehr(lambda _: Found(is_absent=True))) for _ in range(PATIENCE)]

    assert [(each.postponed, each.ignored) for each in results] == [(1, 0)] * (PATIENCE - 1) + [(0, 1)]
    assert clinic.requests() == ([("m-1", "flagged")] if is_known else [])


def test_message_waits_a_while_for_a_photo_that_is_not_there_yet(clinic: Clinic) -> None:
    def without(reference: str) -> Found:
        photo = IncomingAttachment(error_code=ErrorCode.NOT_FOUND, external_id="1")
        return Found("1", IncomingMessage("ehr", reference, [photo]))

    _announce(clinic, "m-1", "m-2")
    assert _collect(clinic, Ehr(without)).postponed == 2
    assert _collect(clinic, Ehr(lambda each: _message(each) if each == "m-1" else without(each))).done == 1
    while _states(clinic)["pending"]:
        _collect(clinic, Ehr(without))

    codes = clinic.query("SELECT error_code FROM attachment ORDER BY error_code NULLS FIRST")
    assert [row.error_code for row in codes] == [None, "not_found"]


def test_message_that_intake_refuses_is_dead(clinic: Clinic) -> None:
    _announce(clinic, "m-1")
    wrong = IncomingMessage("ehr", "m-1", [IncomingAttachment(data=b"1", external_id=str(n)) for n in range(99)])

    assert _collect(clinic, Ehr(lambda _: Found("1", wrong))).reasons == {ArrivalError.MALFORMED: 1}


def test_message_is_read_again_when_its_reader_died(clinic: Clinic) -> None:
    _announce(clinic, "m-1")
    with clinic.sessions.begin() as session:
        assert len(arrivals.claim(session, "ehr", limit=9, lease=timedelta(hours=1))) == 1
    ehr = Ehr()
    assert _collect(clinic, ehr) == Collected()  # the lease holds

    clinic.execute("UPDATE arrival SET due_at = clock_timestamp()")  # it has ended

    assert _collect(clinic, ehr).done == 1


def test_late_result_changes_nothing_when_another_reader_has_taken_over(clinic: Clinic) -> None:
    def lose_lease(reference: str) -> Found:
        clinic.execute("UPDATE arrival SET due_at = clock_timestamp()")
        assert _collect(clinic, Ehr()).done == 1
        raise UsageError("too late")

    _announce(clinic, "m-1")

    assert _collect(clinic, Ehr(lose_lease)).stale == 1
    assert _states(clinic) == {"done": 1}


def test_no_message_is_lost_or_accepted_twice_when_readers_race_and_fail(clinic: Clinic) -> None:
    references = [f"m-{number:03}" for number in range(100)]
    dice = random.Random(7)

    def answer(reference: str) -> Found:
        if dice.random() < 0.2:
            raise ServiceUnavailableError("busy")
        return _message(reference)

    def announce_all() -> None:
        for start in range(0, 100, 10):
            _announce(clinic, *reversed(references[start : start + 30]))

    def collect() -> None:
        while set(_states(clinic)) != {"done"} or sum(_states(clinic).values()) < 100:
            _collect(clinic, Ehr(answer))

    threads = [threading.Thread(target=each) for each in (announce_all, announce_all, collect, collect)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert _messages(clinic) == references


def test_several_thousand_messages_are_announced_in_one_call(clinic: Clinic) -> None:
    references = [f"m-{number}" for number in range(2500)]

    assert _announce(clinic, *references, version="1") == 2500
    assert _announce(clinic, *references, version="1") == 0


@pytest.mark.parametrize("reference", ["", "m\n1", "x" * 201])
def test_announcement_is_refused_when_a_reference_is_malformed(clinic: Clinic, reference: str) -> None:
    with pytest.raises(UsageError, match="invalid reference"):
        _announce(clinic, "m-1", reference)
    assert _states(clinic) == {}


def test_work_is_reported_when_a_message_or_a_search_is_due(clinic: Clinic) -> None:
    assert not has_work(clinic.sessions, "ehr", searches=False)
    assert has_work(clinic.sessions, "ehr", searches=True)
    _search(clinic, Ehr(), interval=timedelta(hours=1))
    assert not has_work(clinic.sessions, "ehr", searches=True)
    _announce(clinic, "m-1")
    assert has_work(clinic.sessions, "ehr", searches=False)
    assert not has_work(clinic.sessions, "other", searches=False)


def _search(clinic: Clinic, ehr: Ehr, interval: timedelta = timedelta(0)) -> int | None:
    overlap = timedelta(minutes=5)
    return Searcher(clinic.sessions, "ehr", ehr, interval=interval, overlap=overlap).search()


def test_search_announces_what_it_finds_and_the_next_starts_where_it_began(clinic: Clinic) -> None:
    ehr = Ehr(found={"m-1": "1", "m-2": None})

    assert _search(clinic, ehr) == 2
    between = datetime.now(UTC)
    assert _search(clinic, ehr) == 0
    assert _search(clinic, ehr) == 0

    first, second, third = ehr.searches
    assert first <= second <= between - timedelta(minutes=5) <= third
    assert _collect(clinic, ehr).done == 2


@pytest.mark.parametrize("error", [ServiceUnavailableError("down"), ValueError("a defect")])
def test_search_is_repeated_from_where_it_began_when_it_failed(clinic: Clinic, error: Exception) -> None:
    ehr = Ehr(found={"m-1": "1"})
    _search(clinic, ehr)

    class Down(Ehr):
        def find(self, since: datetime) -> Mapping[str, str | None]:
            super().find(since)
            raise error

    down = Down()
    for _ in range(3):
        with pytest.raises(type(error)):
            _search(clinic, down)
    _search(clinic, ehr)

    assert {*down.searches} == {ehr.searches[1]}


def test_only_one_searches_at_a_time(clinic: Clinic) -> None:
    others: list[int | None] = []

    class Slow(Ehr):
        def find(self, since: datetime) -> Mapping[str, str | None]:
            others.append(_search(clinic, Ehr()))
            return super().find(since)

    assert _search(clinic, Slow(), interval=timedelta(hours=1)) == 0
    assert others == [None]
    assert _search(clinic, Ehr()) is None  # it is not time


def test_search_of_a_killed_searcher_is_made_again(clinic: Clinic) -> None:
    with clinic.sessions.begin() as session:
        killed = arrivals.claim_search(session, "ehr", lease=timedelta(hours=1))
    assert killed is not None
    assert _search(clinic, Ehr(found={"m-1": "1"})) is None

    clinic.execute("UPDATE arrival_source SET due_at = clock_timestamp()")  # its lease has ended

    ehr = Ehr(found={"m-1": "1"})
    assert _search(clinic, ehr) == 1
    assert ehr.searches == [killed.since - timedelta(minutes=5)]
    with clinic.sessions.begin() as session:
        assert not arrivals.record_search(session, killed, complete=True, again_in=timedelta(0))


def test_reference_is_deleted_when_its_message_is_forgotten(clinic: Clinic, tmp_path: Path) -> None:
    _announce(clinic, "m-1", "m-2")
    _collect(clinic, Ehr())
    retention = Retention(clinic.sessions, BlobStore(str(tmp_path)), keep=None)

    forget(clinic.sessions, retention, "m-1", by="op-1", reason="request-1", policy=clinic.policy)

    assert [row.reference for row in clinic.query("SELECT reference FROM arrival")] == ["m-2"]


def test_reference_is_deleted_a_month_after_it_was_read(clinic: Clinic, tmp_path: Path) -> None:
    _announce(clinic, "m-1", "m-2", "m-3")
    _collect(clinic, Ehr())
    clinic.execute("UPDATE arrival SET finished_at = finished_at - interval '31 days' WHERE reference = 'm-1'")
    _announce(clinic, "m-3")  # waits

    Retention(clinic.sessions, BlobStore(str(tmp_path)), keep=None).purge(actor="op-1")

    assert {row.reference for row in clinic.query("SELECT reference FROM arrival")} == {"m-2", "m-3"}


def test_reference_is_deleted_when_its_thread_is_archived(clinic: Clinic, tmp_path: Path) -> None:
    _announce(clinic, "m-1")
    _collect(clinic, Ehr())
    _announce(clinic, "m-2")
    clinic.drain()

    list(archive_threads(clinic.sessions, tmp_path, before=datetime.now(UTC) + timedelta(hours=1), actor="op-1"))

    assert [row.reference for row in clinic.query("SELECT reference FROM arrival")] == ["m-2"]


def _answer(clinic: Clinic, reference: str, *requests: UUID, score: str = "0.9") -> None:
    def answering(reference: str) -> Found:
        return replace(_message(reference, score), answers=[RetakeRequestId(each) for each in requests])

    _announce(clinic, reference)
    assert _collect(clinic, Ehr(answering)).done == 1


def _asked(clinic: Clinic, *messages: str) -> list[UUID]:
    """Requests for these messages, in their order."""
    for message in messages:
        clinic.send(message, "0.2")
    clinic.drain()
    found = clinic.query("SELECT m.external_id, r.id FROM retake_request r JOIN message m ON m.id = r.message_id")
    ids = {row.external_id: row.id for row in found}
    return [ids[each] for each in messages]


def _answered(clinic: Clinic) -> list[UUID]:
    return [row.id for row in clinic.query("SELECT id FROM retake_request WHERE answered_at IS NOT NULL ORDER BY id")]


def test_unsent_request_is_answered_and_withdrawn_by_the_message_that_names_it(clinic: Clinic) -> None:
    first, other = _asked(clinic, "m-1", "m-2")

    _answer(clinic, "m-3", first)

    assert _answered(clinic) == [first]
    assert sorted(clinic.requests()) == [("m-1", "withdrawn"), ("m-2", "flagged")]
    events = clinic.query("SELECT action, subject_id FROM audit_event WHERE details ? 'message_id' ORDER BY position")
    assert [tuple(row) for row in events] == [("retake.answered", first), ("retake.withdrawn", first)]
    assert other not in _answered(clinic)


def test_sent_request_is_answered_once_and_stays_sent(clinic: Clinic) -> None:
    [request] = _asked(clinic, "m-1")
    [claimed] = requests.claim(clinic.sessions, limit=9, lease=timedelta(hours=1), by="ehr")
    assert claimed.token is not None
    requests.acknowledge(clinic.sessions, claimed.id, claimed.token, by="ehr")

    _answer(clinic, "m-2", request)
    [first] = clinic.query("SELECT answered_at FROM retake_request")
    _answer(clinic, "m-3", request)
    _answer(clinic, "m-2", request)

    assert clinic.query("SELECT answered_at FROM retake_request") == [first]
    assert clinic.requests() == [("m-1", "sent")]


def test_request_for_the_answer_itself_stays_open(clinic: Clinic) -> None:
    [request] = _asked(clinic, "m-1")
    _answer(clinic, "m-2", request, score="0.2")
    clinic.drain()
    assert sorted(clinic.requests()) == [("m-1", "withdrawn"), ("m-2", "flagged")]

    _answer(clinic, "m-2", request, score="0.2")

    assert sorted(clinic.requests()) == [("m-1", "withdrawn"), ("m-2", "flagged")]


def test_answered_request_counts_towards_the_limits_of_its_thread(clinic: Clinic) -> None:
    [request] = _asked(clinic, "m-1")

    def answering(reference: str) -> Found:
        photo = IncomingAttachment(uri=f"file:///in/{reference}/0.2", external_id="1")
        message = IncomingMessage("ehr", reference, [photo], thread="m-1")
        return Found("1", message, answers=[RetakeRequestId(request)])

    _announce(clinic, "m-2")
    _collect(clinic, Ehr(answering))
    clinic.drain()

    assert clinic.requests() == [("m-1", "withdrawn")]
    assert [reason for _, reason in clinic.decisions("m-2")] == ["cooldown"]


def test_unknown_request_and_one_of_another_source_are_left_alone(clinic: Clinic) -> None:
    clinic.send("m-1", "0.2", source="other")
    clinic.drain()
    [row] = clinic.query("SELECT id FROM retake_request")

    _answer(clinic, "m-2", row.id, new_id())

    assert _answered(clinic) == []
    assert clinic.requests() == [("m-1", "flagged")]


def test_rights_of_a_worker_suffice_to_search_announce_and_collect(
    clinic: Clinic, services: WorkerServices, live_model: object
) -> None:
    ehr = Ehr(found={"m-1": "1"})
    searcher = Searcher(services.sessions, "ehr", ehr, interval=timedelta(0), overlap=timedelta(0))

    for _ in range(2):
        searcher.search()
        announce(services.sessions, "ehr", {"m-2": None})
        notify(services.sessions, "ehr", [], searches=True, events=Events("Subscription/1", 2, 2))
        Collector(services.sessions, services.intake, "ehr", ehr, clinic.policy).collect(seconds=60)

    assert _messages(clinic) == ["m-1", "m-2"]


@pytest.mark.parametrize(
    ("numbers", "missed"),
    [
        ([(1, 0), (1, 1), (2, 4), (5, 5)], []),
        ([(1, 1), (2, 1), (1, 1), (2, 2), (1, 3), (4, 4)], []),  # heartbeats and repetitions
        ([(1, 1), (3, 3), (4, 4)], [1]),
        ([(1, 1), (4, 3), (4, 4)], [1]),  # a heartbeat names events that did not arrive
        ([(1, 1), (3, 3), (2, 2), (4, 4), (5, 5)], [1, 2, 3]),  # out of order
        ([(1, 1), (2, 2), (1, 1), (2, 2), (4, 4)], [2, 4]),  # the system counts from the start again
        ([(1, 5), (1, 0), (1, 1), (3, 3)], [1, 3]),
        ([(1, 1), (MAX_EVENTS, MAX_EVENTS), (2, 2), (3, 3), (5, 5)], [1, 2, 4]),  # a forged number hides nothing
    ],
)
def test_search_is_due_when_events_do_not_follow(
    clinic: Clinic, numbers: list[tuple[int, int]], missed: list[int]
) -> None:
    _search(clinic, Ehr(), interval=timedelta(hours=1))

    def note(first: int, last: int) -> bool:
        noticed = notify(clinic.sessions, "ehr", [], events=Events("Subscription/1", first, last))
        assert (_search(clinic, Ehr(), interval=timedelta(hours=1)) is not None) is noticed.missed
        return noticed.missed

    assert [index for index, (first, last) in enumerate(numbers) if note(first, last)] == missed


def test_numbers_of_events_are_those_of_a_subscription(clinic: Clinic) -> None:
    def note(subscription: str, number: int) -> bool:
        events = Events(subscription, number, number)
        return notify(clinic.sessions, "ehr", [], events=events).missed

    assert [note("Subscription/1", 1), note("Subscription/2", 1), note("Subscription/2", 2)] == [False] * 3
    assert note("Subscription/3", 3)


@pytest.mark.parametrize(("first", "last"), [(9, 3), (0, -1), (-5, -5), (1, -1), (1, MAX_EVENTS + 1), (2**80, 2**80)])
def test_notification_is_refused_when_the_numbers_of_its_events_are_invalid(
    clinic: Clinic, first: int, last: int
) -> None:
    with pytest.raises(UsageError, match="out of range"):
        notify(clinic.sessions, "ehr", ["m-1"], events=Events("Subscription/1", first, last))
    assert _states(clinic) == {}


def test_search_is_due_again_when_it_is_announced_while_one_runs(clinic: Clinic) -> None:
    class Announcing(Ehr):
        def find(self, since: datetime) -> Mapping[str, str | None]:
            notify(clinic.sessions, "ehr", [], searches=True)
            return super().find(since)

    _search(clinic, Announcing(), interval=timedelta(hours=1))

    ehr = Ehr()
    assert _search(clinic, ehr, interval=timedelta(hours=1)) == 0
    assert _search(clinic, ehr, interval=timedelta(hours=1)) is None


def test_first_search_begins_when_it_was_announced(clinic: Clinic) -> None:
    notify(clinic.sessions, "ehr", [], searches=True)
    announced = datetime.now(UTC)
    ehr = Ehr()
    _search(clinic, ehr)

    assert ehr.searches[0] <= announced - timedelta(minutes=5)


def test_failing_search_is_repeated_at_its_time_when_it_is_announced(clinic: Clinic) -> None:
    class Busy(Ehr):
        def find(self, since: datetime) -> Mapping[str, str | None]:
            super().find(since)
            raise ServiceUnavailableError("busy", retry_after=timedelta(minutes=5))

    with pytest.raises(ServiceUnavailableError):
        _search(clinic, Busy())
    notify(clinic.sessions, "ehr", [], searches=True)

    assert _search(clinic, Ehr()) is None
    [row] = clinic.query("SELECT due_at - clock_timestamp() AS delay FROM arrival_source")
    assert timedelta(minutes=4) < row.delay <= timedelta(minutes=5)
    clinic.execute("UPDATE arrival_source SET due_at = clock_timestamp()")
    assert _search(clinic, Ehr(found={"m-1": "1"}), interval=timedelta(hours=1)) == 1
    notify(clinic.sessions, "ehr", [], searches=True)
    assert _search(clinic, Ehr()) == 0


def test_failed_search_does_not_wait_for_a_long_interval(clinic: Clinic) -> None:
    class Down(Ehr):
        def find(self, since: datetime) -> Mapping[str, str | None]:
            raise ServiceUnavailableError("down")

    with pytest.raises(ServiceUnavailableError):
        _search(clinic, Down(), interval=timedelta(days=1))

    [row] = clinic.query("SELECT due_at - clock_timestamp() AS delay FROM arrival_source")
    assert row.delay <= timedelta(minutes=15)


def test_gap_is_noticed_again_when_its_search_could_not_be_stored(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise KeyError

    gap = Events("Subscription/1", 3, 3)
    with monkeypatch.context() as patched:
        patched.setattr(arrivals, "hasten_search", fail)
        with pytest.raises(KeyError):
            notify(clinic.sessions, "ehr", ["m-1"], events=gap)

    assert _states(clinic) == {}
    assert notify(clinic.sessions, "ehr", ["m-1"], events=gap) == Noticed(due=1, missed=True)
