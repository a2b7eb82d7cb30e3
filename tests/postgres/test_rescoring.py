from collections.abc import Callable, Sequence
from datetime import date
from typing import Any

import pytest
from sqlalchemy import text

from tests.support.clinic import Clinic, ScriptedAssessor, scored
from tests.support.rescoring import LEASE, OtherModel, step
from triage.domain.messages import ClaimedAttachment
from triage.domain.photos import AssessedBatch, Failed
from triage.domain.runs import RescoringParameters, Run
from triage.domain.states import Outcome, RunStatus, VerdictOrigin
from triage.errors import ErrorCode, ServiceUnavailableError
from triage.reports.flips import flips_of
from triage.retakes.override import override
from triage.scoring import rescoring as rescoring_module
from triage.scoring.drain import DrainLimits, drain
from triage.scoring.rescoring import Chunk, Rescoring
from triage.scoring.start import create_run
from triage.storage import outbox, runs, verdicts
from triage.storage.verdicts import Page


def _start(clinic: Clinic, model: OtherModel, *, limit: int | None = None) -> Run:
    with clinic.sessions.begin() as session:
        run, _ = create_run(
            session, RescoringParameters(model_version_id=model.model_version_id, limit=limit), actor="test"
        )
    return run


def _rescoring(clinic: Clinic, model: OtherModel) -> Rescoring:
    return Rescoring(clinic.sessions, lambda _: model, photos_per_batch=2, lease=LEASE, policy=clinic.policy)


def _expire_leases(clinic: Clinic) -> None:
    with clinic.sessions.begin() as session:
        session.execute(text("UPDATE run SET lease_until = now() WHERE lease_until IS NOT NULL"))


def _finish(clinic: Clinic, model: OtherModel, run: Run) -> Run:
    rescoring = _rescoring(clinic, model)
    while step(rescoring):
        pass
    with clinic.sessions() as session:
        return runs.find(session, run.id)


def test_every_photo_without_a_verdict_gets_one_and_flips_are_counted(
    clinic: Clinic, make_other: Callable[[float], OtherModel]
) -> None:
    clinic.send("m1", "a/0.9", "b/0.1", "c/unreadable")
    clinic.send("m2", "d/0.2", "e/0.8")
    clinic.drain()
    model = make_other(0.3)

    run = _finish(clinic, model, _start(clinic, model))

    assert run.status is RunStatus.DONE
    assert (run.progress["total"], run.progress["scored"], run.progress["failed"]) == (4, 4, 0)
    assert (run.progress["good_to_bad"], run.progress["bad_to_good"]) == (2, 0)
    assert clinic.query("SELECT count(*), count(DISTINCT attachment_id) FROM verdict WHERE origin = 'rescoring'") == [
        (4, 4)
    ]


@pytest.mark.parametrize(("score", "to_bad", "to_good"), [(0.3, (1, 1, 0), (0, 0, 0)), (0.9, (0, 0, 0), (1, 0, 1))])
def test_flips_are_told_by_day_and_source(
    clinic: Clinic,
    make_other: Callable[[float], OtherModel],
    score: float,
    to_bad: Sequence[int],
    to_good: Sequence[int],
) -> None:
    clinic.send("m1", "a/0.9", "b/0.1")
    clinic.send("m2", "c/0.8", "d/unreadable")
    clinic.send("m3", "e/0.2")
    clinic.drain()
    clinic.execute("UPDATE message SET received_at = '2026-01-02 23:30+00' WHERE external_id = 'm1'")
    clinic.execute("UPDATE message SET received_at = '2026-01-03 00:30+00' WHERE external_id IN ('m2', 'm3')")
    clinic.execute("UPDATE message SET source = 'portal' WHERE external_id = 'm3'")
    model = make_other(score)

    run = _finish(clinic, model, _start(clinic, model))
    again = _finish(clinic, model, _start(clinic, model))

    places = [("2026-01-02", "ehr", 2), ("2026-01-03", "ehr", 1), ("2026-01-03", "portal", 1)]
    assert [tuple(row.values()) for row in flips_of(clinic.sessions, run.id)] == [
        (*place, bad, good) for place, bad, good in zip(places, to_bad, to_good, strict=True)
    ]
    assert flips_of(clinic.sessions, again.id) == []  # it has scored nothing


def test_photo_is_scored_once_when_the_run_is_started_again(
    clinic: Clinic, make_other: Callable[[float], OtherModel]
) -> None:
    clinic.send("m1", "a/0.9", "b/0.1")
    clinic.drain()
    model = make_other(0.3)
    _finish(clinic, model, _start(clinic, model))

    again = _finish(clinic, model, _start(clinic, model))

    assert again.progress["total"] == 0
    assert len(model.seen) == 2


def test_run_goes_on_when_a_worker_is_lost_between_taking_and_writing(
    clinic: Clinic, make_other: Callable[[float], OtherModel]
) -> None:
    clinic.send("m1", *(f"{name}/0.9" for name in "abcde"))
    clinic.drain()
    model = make_other(0.3)
    run = _start(clinic, model)
    _lose_a_worker(clinic, model)

    assert _finish(clinic, model, run).status is RunStatus.RUNNING  # the lost worker may still write
    _expire_leases(clinic)
    finished = _finish(clinic, model, run)

    assert finished.status is RunStatus.DONE
    assert finished.progress["scored"] == 5
    assert len(set(model.seen)) == 5


def test_run_goes_on_at_its_cursor_when_it_was_stopped(
    clinic: Clinic, make_other: Callable[[float], OtherModel]
) -> None:
    clinic.send("m1", *(f"{name}/0.9" for name in "abcde"))
    clinic.drain()
    model = make_other(0.3)
    run = _start(clinic, model)
    assert step(_rescoring(clinic, model))  # two photos, and then its process ends in order

    finished = _finish(clinic, model, run)

    assert (finished.status, finished.progress["scored"], finished.progress["passes"]) == (RunStatus.DONE, 5, 2)
    assert model.seen == [row.id for row in clinic.query("SELECT id FROM attachment ORDER BY id")]


def test_flips_are_counted_once_when_a_lost_worker_writes_after_all(
    clinic: Clinic, make_other: Callable[[float], OtherModel]
) -> None:
    clinic.send("m1", *(f"{name}/0.9" for name in "abc"))
    clinic.drain()
    model = make_other(0.3)
    run = _start(clinic, model)
    lost, other = _rescoring(clinic, model), _rescoring(clinic, model)
    chunk = _lose_a_worker(clinic, model)
    assert step(other)  # the third photo
    _expire_leases(clinic)
    assert step(other)  # the first photo again, in a further pass

    with clinic.sessions.begin() as session:
        lost._record(session, chunk, model.assess(chunk.attachments))
    _expire_leases(clinic)
    finished = _finish(clinic, model, run)

    assert finished.status is RunStatus.DONE
    assert (finished.progress["scored"], finished.progress["good_to_bad"]) == (3, 3)


def test_no_further_photo_is_scored_when_the_run_is_cancelled(
    clinic: Clinic, make_other: Callable[[float], OtherModel]
) -> None:
    clinic.send("m1", *(f"{name}/0.9" for name in "abcde"))
    clinic.drain()
    model = make_other(0.3)
    run = _start(clinic, model)
    assert step(_rescoring(clinic, model))
    with clinic.sessions.begin() as session:
        assert runs.cancel(session, run.id)

    assert _finish(clinic, model, run).status is RunStatus.CANCELLED
    assert len(model.seen) == 2


def test_inbox_is_looked_at_between_two_batches(clinic: Clinic, make_other: Callable[[float], OtherModel]) -> None:
    clinic.send("m1", *(f"{name}/0.9" for name in "abcdef"))
    clinic.drain()
    model = make_other(0.3)
    _start(clinic, model)
    order: list[str] = []

    class Recording(OtherModel):
        def assess(self, attachments: Sequence[ClaimedAttachment]) -> AssessedBatch:
            if not order:
                clinic.send("m2", "z/0.9")  # comes while the first batch is rescored, and the second was taken ahead
            order.append("rescoring")
            return super().assess(attachments)

    class Watching(ScriptedAssessor):
        def assess(self, attachments: Sequence[ClaimedAttachment]) -> AssessedBatch:
            order.append("inbox")
            return super().assess(attachments)

    assessor = Watching(clinic.assessor.model_version_id)
    rescoring = _rescoring(clinic, Recording(model.model_version_id, 0.3))
    drain(clinic.inbox, lambda: assessor, DrainLimits(4, seconds=60), background=rescoring)

    assert order[:3] == ["rescoring", "inbox", "rescoring"]


@pytest.mark.parametrize("looked_at_once", [1, 2, 3])
def test_every_photo_is_found_however_little_is_looked_at_once(
    clinic: Clinic, make_other: Callable[[float], OtherModel], monkeypatch: pytest.MonkeyPatch, looked_at_once: int
) -> None:
    monkeypatch.setattr(verdicts, "_EXAMINED_PER_PAGE", looked_at_once)
    clinic.send("m1", "a/0.9", "b/unreadable", "c/unreadable", "d/unreadable", "e/0.9", "f/0.9", "g/0.9")
    clinic.drain()
    model = make_other(0.3)

    run = _finish(clinic, model, _start(clinic, model))

    assert (run.status, run.progress["scored"], run.progress["passes"]) == (
        RunStatus.DONE,
        4,
        2,
    )  # the second finds nothing


def test_two_workers_write_at_once_and_neither_waits_for_the_other(
    clinic: Clinic, make_other: Callable[[float], OtherModel]
) -> None:
    """A verdict's reference to its run is a lock as well: with a lock that excludes it, the two would wait forever."""
    clinic.send("m1", "a/0.9", "b/0.9")
    clinic.send("m2", "c/0.9", "d/0.9")
    clinic.drain()
    model = make_other(0.3)
    run = _start(clinic, model)
    rescoring = _rescoring(clinic, model)
    with clinic.sessions.begin() as session:
        first = rescoring._take(session)
        second = rescoring._take(session)
    assert first is not None
    assert second is not None

    with clinic.sessions() as one:
        verdicts.add(
            one,
            [scored(attachment.id, 0.3) for attachment in first.attachments],
            model_version_id=model.model_version_id,
            threshold=0.5,
            origin=VerdictOrigin.RESCORING,
            run_id=run.id,
        )
        with clinic.sessions.begin() as other:
            other.execute(text("SET LOCAL lock_timeout = '1s'"))
            rescoring._record(other, second, model.assess(second.attachments))
        one.commit()

    assert len(clinic.query("SELECT FROM verdict WHERE origin = 'rescoring'")) == 4


def test_inbox_has_its_turn_while_a_run_looks_for_its_next_photo(
    clinic: Clinic, make_other: Callable[[float], OtherModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verdicts, "_EXAMINED_PER_PAGE", 1)
    monkeypatch.setattr(rescoring_module, "_SEARCH_SECONDS", 0)
    clinic.send("m1", *(f"{name}/unreadable" for name in "abcdef"), "g/0.9")
    clinic.drain()
    model = make_other(0.3)
    _start(clinic, model)
    order: list[str] = []
    look = verdicts.without_verdict

    def look_while_a_message_comes(*arguments: Any, **named: Any) -> Page:
        order.append("look")
        if len(order) == 1:
            clinic.send("m2", "z/0.9")
        return look(*arguments, **named)

    class Watching(ScriptedAssessor):
        def assess(self, attachments: Sequence[ClaimedAttachment]) -> AssessedBatch:
            order.append("inbox")
            return super().assess(attachments)

    monkeypatch.setattr(verdicts, "without_verdict", look_while_a_message_comes)
    assessor = Watching(clinic.assessor.model_version_id)
    drain(clinic.inbox, lambda: assessor, DrainLimits(4, seconds=60), background=_rescoring(clinic, model))

    assert order.index("inbox") <= 2
    assert len(model.seen) == 1  # the seventh photo, and not that of a message that came after the run


def test_run_says_how_much_there_is_at_once_and_how_long_it_will_take_later(
    clinic: Clinic, make_other: Callable[[float], OtherModel]
) -> None:
    clinic.send("m1", *(f"{name}/0.9" for name in "abcde"))
    clinic.drain()
    model = make_other(0.3)
    run = _start(clinic, model)
    limited = _start(clinic, model, limit=3)
    assert (run.progress["total"], run.progress["seconds_left"]) == (5, None)
    assert limited.progress["total"] == 3

    assert step(_rescoring(clinic, model))
    with clinic.sessions.begin() as session:
        session.execute(text("UPDATE run SET started_at = heartbeat_at - interval '40 s' WHERE started_at IS NOT NULL"))
    assert step(_rescoring(clinic, model))

    with clinic.sessions() as session:
        assert runs.find(session, run.id).progress["seconds_left"] == pytest.approx(10, abs=2)  # one of five is left


def test_unsent_request_is_withdrawn_when_its_message_passes_now(
    clinic: Clinic, make_other: Callable[[float], OtherModel]
) -> None:
    clinic.send("m1", "a/0.1")
    clinic.send("m2", "b/0.2")
    clinic.drain()
    with clinic.sessions.begin() as session:
        [claimed] = outbox.claim(session, limit=1, lease=LEASE, by="ehr")
        assert claimed.token is not None
        outbox.acknowledge(session, claimed.id, claimed.token)  # m1 has been told already
    model = make_other(0.9)

    run = _finish(clinic, model, _start(clinic, model))

    assert clinic.requests() == [("m1", "sent"), ("m2", "withdrawn")]
    assert (run.progress["bad_to_good"], run.progress["withdrawn"]) == (2, 1)
    assert clinic.decisions("m1") == [("retake", "no_photo_passed")]
    assert clinic.decisions("m2") == [("retake", "no_photo_passed"), ("pass", "photo_passed")]


def test_request_stands_when_its_sender_holds_it(clinic: Clinic, make_other: Callable[[float], OtherModel]) -> None:
    clinic.send("m1", "a/0.1")
    clinic.drain()
    with clinic.sessions.begin() as session:
        assert outbox.claim(session, limit=1, lease=LEASE, by="ehr")
    model = make_other(0.9)

    run = _finish(clinic, model, _start(clinic, model))

    assert (run.progress["bad_to_good"], run.progress["withdrawn"]) == (1, 0)
    assert clinic.requests() == [("m1", "claimed")]


def test_request_stands_when_a_person_asked_for_it(clinic: Clinic, make_other: Callable[[float], OtherModel]) -> None:
    clinic.send("m1", "a/0.1")
    clinic.drain()
    override(clinic.sessions, "m1", Outcome.RETAKE, by="nurse-1", reason="another angle", policy=clinic.policy)
    model = make_other(0.9)

    _finish(clinic, model, _start(clinic, model))

    assert clinic.requests() == [("m1", "flagged")]
    assert clinic.decisions("m1")[-1] == ("retake", "override")


def test_nothing_is_flagged_when_a_message_fails_now(clinic: Clinic, make_other: Callable[[float], OtherModel]) -> None:
    clinic.send("m1", "a/0.9")
    clinic.drain()
    model = make_other(0.1)

    _finish(clinic, model, _start(clinic, model))

    assert clinic.requests() == []
    assert clinic.decisions("m1") == [("pass", "photo_passed")]


def test_chunk_is_released_when_its_photos_cannot_be_prepared(
    clinic: Clinic, make_other: Callable[[float], OtherModel]
) -> None:
    clinic.send("m1", "a/0.9", "b/0.9")
    clinic.drain()
    model = make_other(0.3)
    run = _start(clinic, model)

    def unavailable(_: object) -> OtherModel:
        raise ServiceUnavailableError("the blob store is unavailable")

    rescoring = Rescoring(clinic.sessions, unavailable, photos_per_batch=2, lease=LEASE, policy=clinic.policy)
    with pytest.raises(ServiceUnavailableError):
        rescoring.take()

    with clinic.sessions() as session:
        progress = runs.find(session, run.id).progress
    assert (progress["chunks"], progress["lost"]) == ({}, 2)


def test_limit_bounds_the_photos(clinic: Clinic, make_other: Callable[[float], OtherModel]) -> None:
    clinic.send("m1", *(f"{name}/0.9" for name in "abcde"))
    clinic.drain()
    model = make_other(0.3)

    run = _finish(clinic, model, _start(clinic, model, limit=3))

    assert run.progress["scored"] == len(model.seen) == 3


def test_limit_is_reached_when_workers_are_lost(clinic: Clinic, make_other: Callable[[float], OtherModel]) -> None:
    clinic.send("m1", *(f"{name}/0.9" for name in "abcde"))
    clinic.drain()
    model = make_other(0.3)
    run = _start(clinic, model, limit=3)
    _lose_a_worker(clinic, model)
    _lose_a_worker(clinic, model)  # all that the limit allows is in lost hands
    _expire_leases(clinic)

    finished = _finish(clinic, model, run)

    assert (finished.status, finished.progress["scored"], len(model.seen)) == (RunStatus.DONE, 3, 3)


def test_no_photo_is_left_out_when_answers_of_the_database_are_lost(
    clinic: Clinic, make_other: Callable[[float], OtherModel]
) -> None:
    """What is written is written a second time then, and what was written may be given up as well."""
    clinic.send("m1", *(f"{name}/0.9" for name in "abcd"))
    clinic.drain()
    model = make_other(0.3)
    run = _start(clinic, model)
    lost = _lose_a_worker(clinic, model)
    other = _rescoring(clinic, model)
    chunk = _lose_a_worker(clinic, model)
    for _ in range(3):
        other.record(chunk, model.assess(chunk.attachments))
        other.release(chunk)

    with clinic.sessions() as session:
        progress = runs.find(session, run.id).progress
    assert (progress["chunks"], progress["scored"], progress["failed"], progress["lost"]) == (
        {str(lost.id): 2},
        2,
        0,
        0,
    )
    _expire_leases(clinic)
    assert _finish(clinic, model, run).progress["scored"] == 4


def test_chunk_of_a_pass_before_takes_nothing_from_the_next(
    clinic: Clinic, make_other: Callable[[float], OtherModel]
) -> None:
    clinic.send("m1", "a/0.9", "b/0.9")
    clinic.drain()
    model = make_other(0.3)
    run = _start(clinic, model)
    slow = _lose_a_worker(clinic, model)
    _expire_leases(clinic)
    second = _lose_a_worker(clinic, model)

    _rescoring(clinic, model).release(slow)

    with clinic.sessions() as session:
        progress = runs.find(session, run.id).progress
    assert (progress["passes"], progress["chunks"], progress["lost"]) == (2, {str(second.id): 1}, 0)


def test_late_result_does_not_exceed_the_limit(clinic: Clinic, make_other: Callable[[float], OtherModel]) -> None:
    clinic.send("m1", *(f"{name}/0.9" for name in "abcd"))
    clinic.drain()
    model = make_other(0.3)
    run = _start(clinic, model, limit=2)
    rescoring = _rescoring(clinic, model)
    slow = _lose_a_worker(clinic, model)
    _expire_leases(clinic)
    rescoring.release(_lose_a_worker(clinic, model))  # the first photo again: another goes in its place
    assert step(rescoring)
    last = _lose_a_worker(clinic, model)

    for chunk in (slow, last):
        rescoring.record(chunk, model.assess(chunk.attachments))

    finished = _finish(clinic, model, run)
    assert (finished.status, finished.progress["scored"]) == (RunStatus.DONE, 2)
    assert clinic.query("SELECT count(*) FROM verdict WHERE origin = 'rescoring'") == [(2,)]


def test_run_outlasts_workers_that_are_lost_pass_after_pass(
    clinic: Clinic, make_other: Callable[[float], OtherModel]
) -> None:
    clinic.send("m1", "a/0.9")
    clinic.drain()
    model = make_other(0.3)
    run = _start(clinic, model)
    for _ in range(4):
        _lose_a_worker(clinic, model)
        _expire_leases(clinic)

    finished = _finish(clinic, model, run)

    assert (finished.status, finished.progress["scored"], finished.progress["failed"]) == (RunStatus.DONE, 1, 0)


def test_run_ends_when_a_photo_kills_its_worker_in_each_pass(
    clinic: Clinic, make_other: Callable[[float], OtherModel]
) -> None:
    clinic.send("m1", "a/0.9")
    clinic.drain()
    model = make_other(0.3)
    run = _start(clinic, model)
    rescoring = _rescoring(clinic, model)
    for _ in range(100):
        with clinic.sessions.begin() as session:
            rescoring._take(session)
        _expire_leases(clinic)

    with clinic.sessions() as session:
        finished = runs.find(session, run.id)
    assert (finished.status, finished.progress["failed"]) == (RunStatus.DONE, 1)


def _lose_a_worker(clinic: Clinic, model: OtherModel) -> Chunk:
    """One that takes a chunk, and then its process is gone."""
    while True:
        with clinic.sessions.begin() as session:
            chunk = _rescoring(clinic, model)._take(session)
        assert chunk is not None
        if chunk.attachments:
            return chunk


def test_run_fails_with_a_reason_when_its_model_cannot_be_loaded(
    clinic: Clinic, make_other: Callable[[float], OtherModel]
) -> None:
    clinic.send("m1", "a/0.9")
    clinic.drain()
    model = make_other(0.3)
    model.broken = True

    run = _finish(clinic, model, _start(clinic, model))

    assert (run.status, run.error) == (RunStatus.FAILED, "the weights are gone: add the model again")


def test_night_has_one_run_when_two_beats_start_it(clinic: Clinic, make_other: Callable[[float], OtherModel]) -> None:
    model = make_other(0.3)
    parameters = RescoringParameters(model_version_id=model.model_version_id)
    started = []
    for _ in range(2):
        with clinic.sessions.begin() as session:
            started.append(create_run(session, parameters, actor="beat", night=date(2026, 1, 1)))

    (first, first_is_new), (second, second_is_new) = started
    assert first.id == second.id
    assert (first_is_new, second_is_new) == (True, False)


def test_run_goes_on_while_passes_bring_verdicts_however_often_workers_are_lost(
    clinic: Clinic, make_other: Callable[[float], OtherModel]
) -> None:
    clinic.send("m1", *(f"{name}/0.9" for name in "abcdef"))
    clinic.drain()
    model = make_other(0.3)
    run = _start(clinic, model)

    def n_judged() -> int:
        [(n,)] = clinic.query("SELECT count(*) FROM verdict WHERE origin = 'rescoring'")
        return int(n)

    for expected in range(6):  # in each pass one photo is judged, and the workers that took the others are lost
        while n_judged() == expected:
            step(_rescoring(clinic, model))
        while n_judged() < 6:
            with clinic.sessions.begin() as session:
                chunk = _rescoring(clinic, model)._take(session)
            if chunk is None or not chunk.attachments:
                break
        _expire_leases(clinic)
    finished = _finish(clinic, model, run)

    assert (finished.status, finished.progress["scored"]) == (RunStatus.DONE, 6)


def test_run_ends_when_passes_bring_nothing(clinic: Clinic, make_other: Callable[[float], OtherModel]) -> None:
    clinic.send("m1", "a/0.9")
    clinic.drain()
    run = _start(clinic, make_other(0.3))
    model = FailsAlways(make_other(0.3).model_version_id, 0.3)

    finished = _finish(clinic, model, run)

    assert (finished.status, finished.progress["scored"], finished.progress["failed"]) == (RunStatus.DONE, 0, 1)


class FailsAlways(OtherModel):
    def assess(self, attachments: Sequence[ClaimedAttachment]) -> AssessedBatch:
        failed = [Failed(attachment.id, ErrorCode.SCORING_FAILED) for attachment in attachments]
        return AssessedBatch(self.model_version_id, 0.5, failed)


def test_progress_of_a_newer_release_is_understood(clinic: Clinic, make_other: Callable[[float], OtherModel]) -> None:
    clinic.send("m1", "a/0.9")
    clinic.drain()
    model = make_other(0.3)
    run = _start(clinic, model)
    with clinic.sessions.begin() as session:
        session.execute(text("""UPDATE run SET progress = '{"added_later": 1}'"""))

    assert _finish(clinic, model, run).progress["scored"] == 1
