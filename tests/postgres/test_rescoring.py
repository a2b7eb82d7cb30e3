import io
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from typing import Any

import pytest
from sqlalchemy import text

from tests.support.clinic import Clinic, ScriptedAssessor, scored
from tests.support.narrow_model import add_reasons, draw_narrow_network, make_narrow_model
from tests.support.rescoring import LEASE, OtherModel, step
from triage.domain.messages import ClaimedAttachment, HeldRequest
from triage.domain.photos import AssessedBatch, Failed
from triage.domain.runs import RescoringParameters, Run
from triage.domain.states import FindingKind, Outcome, RunStatus, VerdictOrigin
from triage.errors import ErrorCode, NoLiveModelError, ServiceUnavailableError
from triage.imaging.decode import Decoder
from triage.imaging.degradation import Degradation, degrade
from triage.model.engines.torch_exact import TorchEngine
from triage.model.scorer import Scorer
from triage.reports.flips import flips_of
from triage.retakes.override import override
from triage.samples.drawing import draw_skin_photo
from triage.scoring import rescoring as rescoring_module
from triage.scoring.assessor import PhotoAssessor, ScoringModel
from triage.scoring.drain import DrainLimits, drain
from triage.scoring.rescoring import Chunk, Rescoring
from triage.scoring.start import create_run, start_nightly_rescoring, start_rescoring
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


@pytest.mark.parametrize("stored", ["{}", "[1]", '{"model_version_id": 7}'])
def test_run_with_malformed_parameters_fails_and_the_next_one_is_done(
    clinic: Clinic, make_other: Callable[[float], OtherModel], stored: str
) -> None:
    clinic.send("m1", "a/0.9")
    clinic.drain()
    model = make_other(0.3)
    damaged = _start(clinic, model)
    clinic.execute(f"UPDATE run SET parameters = '{stored}' WHERE id = '{damaged.id}'")
    with clinic.sessions.begin() as session:
        other, _ = create_run(
            session, RescoringParameters(model_version_id=model.model_version_id, limit=9), actor="test"
        )

    assert _finish(clinic, model, other).status is RunStatus.DONE

    with clinic.sessions() as session:
        failed = runs.find(session, damaged.id)
    assert failed.status is RunStatus.FAILED
    assert str(failed.error).startswith("invalid rescoring parameters: model_version_id")


@pytest.mark.parametrize("changed", ['{"chunks": 7}', '{"after": "x"}', '{"passes": null}', '{"scored": "x"}'])
def test_run_begins_again_when_its_stored_progress_is_malformed(
    clinic: Clinic, make_other: Callable[[float], OtherModel], changed: str
) -> None:
    clinic.send("m1", "a/0.9", "b/0.1", "c/0.8")
    clinic.drain()
    model = make_other(0.3)
    run = _start(clinic, model)
    step(_rescoring(clinic, model))
    clinic.execute(f"UPDATE run SET progress = progress || '{changed}'")

    assert _finish(clinic, model, run).status is RunStatus.DONE
    assert clinic.query("SELECT count(*) FROM verdict WHERE origin = 'rescoring'") == [(3,)]


@pytest.mark.parametrize(("score", "to_bad", "to_good"), [(0.3, (1, 1, 0), (0, 0, 0)), (0.9, (0, 0, 0), (1, 0, 1))])
def test_flips_are_counted_by_day_and_source(
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


def test_run_continues_when_a_worker_is_lost_before_it_records(
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


def test_run_resumes_at_its_cursor_after_a_stop(clinic: Clinic, make_other: Callable[[float], OtherModel]) -> None:
    clinic.send("m1", *(f"{name}/0.9" for name in "abcde"))
    clinic.drain()
    model = make_other(0.3)
    run = _start(clinic, model)
    assert step(_rescoring(clinic, model))  # two photos; then the worker stops normally

    finished = _finish(clinic, model, run)

    assert (finished.status, finished.progress["scored"], finished.progress["passes"]) == (RunStatus.DONE, 5, 2)
    assert model.seen == [row.id for row in clinic.query("SELECT id FROM attachment ORDER BY id")]


def test_flips_are_counted_once_when_a_late_result_arrives(
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


def test_no_more_photos_are_scored_when_the_run_is_cancelled(
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


def test_message_is_scored_between_two_batches_of_a_run(
    clinic: Clinic, make_other: Callable[[float], OtherModel]
) -> None:
    clinic.send("m1", *(f"{name}/0.9" for name in "abcdef"))
    clinic.drain()
    model = make_other(0.3)
    _start(clinic, model)
    order: list[str] = []

    class Recording(OtherModel):
        def assess(self, attachments: Sequence[ClaimedAttachment]) -> AssessedBatch:
            if not order:
                clinic.send("m2", "z/0.9")  # while the first batch is scored and the second is prepared
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


@pytest.mark.parametrize("page_size", [1, 2, 3])
def test_every_photo_is_found_when_pages_are_small(
    clinic: Clinic, make_other: Callable[[float], OtherModel], monkeypatch: pytest.MonkeyPatch, page_size: int
) -> None:
    monkeypatch.setattr(verdicts, "_EXAMINED_PER_PAGE", page_size)
    clinic.send("m1", "a/0.9", "b/unreadable", "c/unreadable", "d/unreadable", "e/0.9", "f/0.9", "g/0.9")
    clinic.drain()
    model = make_other(0.3)

    run = _finish(clinic, model, _start(clinic, model))

    assert (run.status, run.progress["scored"], run.progress["passes"]) == (
        RunStatus.DONE,
        4,
        2,
    )  # the second finds nothing


def test_two_workers_record_concurrently_without_waiting(
    clinic: Clinic, make_other: Callable[[float], OtherModel]
) -> None:
    """A verdict's foreign key share-locks its run; an exclusive lock on the run would cause a deadlock."""
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


def test_message_is_scored_while_a_run_searches_for_its_next_photo(
    clinic: Clinic, make_other: Callable[[float], OtherModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verdicts, "_EXAMINED_PER_PAGE", 1)
    monkeypatch.setattr(rescoring_module, "_SEARCH_SECONDS", 0)
    clinic.send("m1", *(f"{name}/unreadable" for name in "abcdef"), "g/0.9")
    clinic.drain()
    model = make_other(0.3)
    _start(clinic, model)
    order: list[str] = []
    search = verdicts.without_verdict

    def search_while_a_message_arrives(*arguments: Any, **named: Any) -> Page:
        order.append("search")
        if len(order) == 1:
            clinic.send("m2", "z/0.9")
        return search(*arguments, **named)

    class Watching(ScriptedAssessor):
        def assess(self, attachments: Sequence[ClaimedAttachment]) -> AssessedBatch:
            order.append("inbox")
            return super().assess(attachments)

    monkeypatch.setattr(verdicts, "without_verdict", search_while_a_message_arrives)
    assessor = Watching(clinic.assessor.model_version_id)
    drain(clinic.inbox, lambda: assessor, DrainLimits(4, seconds=60), background=_rescoring(clinic, model))

    assert order.index("inbox") <= 2
    assert len(model.seen) == 1  # the seventh photo; the new message arrived after the run was created


def test_run_has_a_total_at_its_start_and_a_remaining_time_later(
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


def test_open_request_is_withdrawn_when_its_message_passes_now(
    clinic: Clinic, make_other: Callable[[float], OtherModel]
) -> None:
    clinic.send("m1", "a/0.1")
    clinic.send("m2", "b/0.2")
    clinic.drain()
    with clinic.sessions.begin() as session:
        [claimed] = outbox.claim(session, limit=1, lease=LEASE, by="ehr")
        assert claimed.token is not None
        outbox.acknowledge(session, [HeldRequest(claimed.id, claimed.token)])  # the request of m1 is sent
    model = make_other(0.9)

    run = _finish(clinic, model, _start(clinic, model))

    assert clinic.requests() == [("m1", "sent"), ("m2", "withdrawn")]
    assert (run.progress["bad_to_good"], run.progress["withdrawn"]) == (2, 1)
    assert clinic.decisions("m1") == [("retake", "no_photo_passed")]
    assert clinic.decisions("m2") == [("retake", "no_photo_passed"), ("pass", "photo_passed")]


def test_claimed_request_is_withdrawn(clinic: Clinic, make_other: Callable[[float], OtherModel]) -> None:
    clinic.send("m1", "a/0.1")
    clinic.drain()
    with clinic.sessions.begin() as session:
        assert outbox.claim(session, limit=1, lease=LEASE, by="ehr")
    model = make_other(0.9)

    run = _finish(clinic, model, _start(clinic, model))

    assert (run.progress["bad_to_good"], run.progress["withdrawn"]) == (1, 1)
    assert clinic.requests() == [("m1", "withdrawn")]


def test_request_by_override_is_not_withdrawn(clinic: Clinic, make_other: Callable[[float], OtherModel]) -> None:
    clinic.send("m1", "a/0.1")
    clinic.drain()
    override(clinic.sessions, "m1", Outcome.RETAKE, by="nurse-1", reason="another angle", policy=clinic.policy)
    model = make_other(0.9)

    _finish(clinic, model, _start(clinic, model))

    assert clinic.requests() == [("m1", "flagged")]
    assert clinic.decisions("m1")[-1] == ("retake", "override")


def test_no_request_is_flagged_when_a_message_fails_now(
    clinic: Clinic, make_other: Callable[[float], OtherModel]
) -> None:
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
    _lose_a_worker(clinic, model)  # the lost workers hold as many photos as the limit allows
    _expire_leases(clinic)

    finished = _finish(clinic, model, run)

    assert (finished.status, finished.progress["scored"], len(model.seen)) == (RunStatus.DONE, 3, 3)


def test_every_photo_is_scored_when_results_are_recorded_twice(
    clinic: Clinic, make_other: Callable[[float], OtherModel]
) -> None:
    """If the reply to a commit is lost, a worker records again, or releases a chunk that is already recorded."""
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


def test_release_of_a_chunk_of_an_earlier_pass_has_no_effect(
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
    rescoring.release(_lose_a_worker(clinic, model))  # the first photo again; another photo takes its place
    assert step(rescoring)
    last = _lose_a_worker(clinic, model)

    for chunk in (slow, last):
        rescoring.record(chunk, model.assess(chunk.attachments))

    finished = _finish(clinic, model, run)
    assert (finished.status, finished.progress["scored"]) == (RunStatus.DONE, 2)
    assert clinic.query("SELECT count(*) FROM verdict WHERE origin = 'rescoring'") == [(2,)]


def test_run_finishes_after_workers_are_lost_in_several_passes(
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
    """Takes a chunk for a worker that neither records nor releases it."""
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


def test_started_run_is_of_the_named_model_and_audited(
    clinic: Clinic, make_other: Callable[[float], OtherModel]
) -> None:
    other = make_other(0.3)
    since = datetime(2026, 1, 2, tzinfo=UTC)

    live = start_rescoring(clinic.sessions, actor="nurse-1")
    named = start_rescoring(clinic.sessions, model="other", since=since, limit=5, actor="nurse-1")

    model_version_id = str(clinic.assessor.model_version_id)
    assert live.parameters == {"model_version_id": model_version_id, "since": None, "limit": None}
    assert named.parameters == {
        "model_version_id": str(other.model_version_id),
        "since": "2026-01-02T00:00:00+00:00",
        "limit": 5,
    }
    events = clinic.query("SELECT actor, subject_id FROM audit_event WHERE action = 'run.started' ORDER BY position")
    assert events == [("nurse-1", live.id), ("nurse-1", named.id)]


def test_nightly_run_is_started_and_audited_once(clinic: Clinic) -> None:
    (first, first_is_new), (second, second_is_new) = (
        start_nightly_rescoring(clinic.sessions, actor="beat") for _ in range(2)
    )

    assert first.id == second.id
    assert (first_is_new, second_is_new) == (True, False)
    assert clinic.query("SELECT count(*) FROM audit_event WHERE action = 'run.started'") == [(1,)]


def test_no_run_is_started_when_no_model_is_live(clinic: Clinic) -> None:
    clinic.execute("UPDATE model_version SET stage = 'retired'")

    with pytest.raises(NoLiveModelError):
        start_rescoring(clinic.sessions, actor="nurse-1")
    with pytest.raises(NoLiveModelError):
        start_nightly_rescoring(clinic.sessions, actor="beat")


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


def test_run_continues_while_passes_write_verdicts(clinic: Clinic, make_other: Callable[[float], OtherModel]) -> None:
    clinic.send("m1", *(f"{name}/0.9" for name in "abcdef"))
    clinic.drain()
    model = make_other(0.3)
    run = _start(clinic, model)

    def n_rescored() -> int:
        [(n,)] = clinic.query("SELECT count(*) FROM verdict WHERE origin = 'rescoring'")
        return int(n)

    for expected in range(6):  # each pass scores one photo and loses the workers of all others
        while n_rescored() == expected:
            step(_rescoring(clinic, model))
        while n_rescored() < 6:
            with clinic.sessions.begin() as session:
                chunk = _rescoring(clinic, model)._take(session)
            if chunk is None or not chunk.attachments:
                break
        _expire_leases(clinic)
    finished = _finish(clinic, model, run)

    assert (finished.status, finished.progress["scored"]) == (RunStatus.DONE, 6)


def test_run_ends_when_passes_write_no_verdict(clinic: Clinic, make_other: Callable[[float], OtherModel]) -> None:
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


def test_progress_of_a_newer_release_is_readable(clinic: Clinic, make_other: Callable[[float], OtherModel]) -> None:
    clinic.send("m1", "a/0.9")
    clinic.drain()
    model = make_other(0.3)
    run = _start(clinic, model)
    with clinic.sessions.begin() as session:
        session.execute(text("""UPDATE run SET progress = '{"added_later": 1}'"""))

    assert _finish(clinic, model, run).progress["scored"] == 1


class _FromBlobs:
    """The source of photos for a model that reads them."""

    def __init__(self, photo: bytes) -> None:
        self._photo = photo

    def fetch(self, _: ClaimedAttachment) -> bytes:
        return self._photo


@pytest.mark.parametrize("has_head", [True, False])
def test_reasons_of_the_other_model_are_stored_when_photos_are_rescored(
    clinic: Clinic, make_other: Callable[[float], OtherModel], *, has_head: bool
) -> None:
    clinic.send("m1", "a/0.9,too_dark")
    clinic.drain()
    network = draw_narrow_network()
    head = add_reasons(network, FindingKind.MOTION, FindingKind.TOO_FAR) if has_head else None
    card, _ = make_narrow_model(network, reasons=head)
    photo = io.BytesIO()
    degrade(draw_skin_photo(1), Degradation.DEFOCUS, 0.9).save(photo, "PNG")
    other = make_other(0.3)
    model = ScoringModel(other.model_version_id, 1.1, Scorer.of(card, TorchEngine(network)))  # no photo passes

    with ThreadPoolExecutor(1) as threads, Decoder() as decoder:
        source = _FromBlobs(photo.getvalue())
        assessor = PhotoAssessor(model, source=source, decoder=decoder, threads=threads)
        rescoring = Rescoring(
            clinic.sessions, lambda _: assessor, photos_per_batch=2, lease=LEASE, policy=clinic.policy
        )
        _start(clinic, other)
        while step(rescoring):
            pass

    [(findings,)] = clinic.query("SELECT findings FROM verdict WHERE origin = 'rescoring'")
    kinds = {finding["kind"] for finding in findings}
    if has_head:
        assert kinds
        assert kinds <= {"motion", "too_far", "no_clear_reason"}
        assert all(0 < finding["probability"] < 1 for finding in findings)
    else:
        assert "defocus" in kinds  # as measured
        assert all(finding["probability"] is None for finding in findings)
    [(first,)] = clinic.query("SELECT findings FROM verdict WHERE origin <> 'rescoring'")
    assert [finding["kind"] for finding in first] == ["too_dark"]
