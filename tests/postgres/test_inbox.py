import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

from sqlalchemy import text

from tests.support.clinic import Clinic, scored
from triage.domain.ids import AttachmentId, LeaseToken, new_id
from triage.domain.messages import Claim
from triage.domain.photos import AssessedBatch, Failed, Unreadable
from triage.errors import ErrorCode
from triage.scoring.inbox import Swept


def _claim(clinic: Clinic, limit: int = 10, *, retry: bool = False) -> Claim:
    claim = clinic.inbox.claim(limit, retry=retry)
    assert claim is not None
    return claim


def _batch(clinic: Clinic, claim: Claim, score: float = 0.9) -> AssessedBatch:
    items = [scored(attachment.id, score) for attachment in claim.attachments]
    return AssessedBatch(clinic.assessor.model_version_id, 0.5, items)


def _failed(clinic: Clinic, claim: Claim) -> AssessedBatch:
    items = [Failed(attachment.id, ErrorCode.SCORING_FAILED) for attachment in claim.attachments]
    return AssessedBatch(clinic.assessor.model_version_id, 0.5, items)


def _unreadable(clinic: Clinic, claim: Claim) -> AssessedBatch:
    items = [Unreadable(attachment.id) for attachment in claim.attachments]
    return AssessedBatch(clinic.assessor.model_version_id, 0.5, items)


def _expire_leases(clinic: Clinic) -> None:
    with clinic.sessions.begin() as session:
        session.execute(
            text("UPDATE attachment SET lease_until = now() - interval '1 s' WHERE lease_until IS NOT NULL")
        )


def _lose_workers(clinic: Clinic, *, retry: bool) -> Swept:
    """Claims what is due, as workers do that then vanish, and sweeps after their leases."""
    while clinic.inbox.claim(1 if retry else 10, retry=retry):
        pass
    _expire_leases(clinic)
    return clinic.inbox.sweep()


def test_photo_is_claimed_once_when_workers_claim_concurrently(clinic: Clinic) -> None:
    for number in range(40):
        clinic.send(f"m{number}", "a/0.9", "b/0.9", "c/0.9")
    barrier = threading.Barrier(8)

    def work() -> list[AttachmentId]:
        barrier.wait()
        ids: list[AttachmentId] = []
        while (claim := clinic.inbox.claim(7, retry=False)) is not None:
            ids += [attachment.id for attachment in claim.attachments]
        return ids

    with ThreadPoolExecutor(8) as pool:
        claimed = [item for future in [pool.submit(work) for _ in range(8)] for item in future.result()]

    assert len(claimed) == 120
    assert len(set(claimed)) == 120


def test_claim_never_exceeds_its_limit(clinic: Clinic) -> None:
    clinic.send("m", *(f"{number}/0.9" for number in range(20)))

    assert len(_claim(clinic, 3).attachments) == 3


def test_claim_is_committed_before_any_work(clinic: Clinic) -> None:
    clinic.send("m", "a/0.9")
    _claim(clinic)

    assert clinic.query("SELECT attempts, status FROM attachment") == [(1, "in_progress")]


def test_record_refuses_a_result_when_the_lease_was_lost(clinic: Clinic) -> None:
    clinic.send("m", "a/0.9")
    slow = _claim(clinic)
    _expire_leases(clinic)
    clinic.inbox.sweep()
    fast = _claim(clinic, retry=True)

    late = clinic.inbox.record(slow, _batch(clinic, slow, 0.1))
    assert (late.stale, late.scored, late.decided) == (1, 0, 0)
    assert not clinic.query("SELECT 1 FROM verdict")

    in_time = clinic.inbox.record(fast, _batch(clinic, fast, 0.9))
    assert (in_time.stale, in_time.scored, in_time.decided) == (0, 1, 1)
    assert clinic.decisions("m") == [("pass", "photo_passed")]


def test_record_refuses_an_unknown_token(clinic: Clinic) -> None:
    clinic.send("m", "a/0.9")
    claim = _claim(clinic)
    forged = Claim(LeaseToken(new_id()), claim.attachments)

    assert clinic.inbox.record(forged, _batch(clinic, forged)).stale == 1


def test_record_is_idempotent(clinic: Clinic) -> None:
    clinic.send("m", "a/0.9")
    claim = _claim(clinic)
    clinic.inbox.record(claim, _batch(clinic, claim))

    assert clinic.inbox.record(claim, _batch(clinic, claim, 0.1)).stale == 1
    assert len(clinic.query("SELECT 1 FROM verdict")) == 1
    assert len(clinic.decisions("m")) == 1


def test_counts_of_a_batch_account_for_every_photo(clinic: Clinic) -> None:
    clinic.send("m", "a/0.9", "b/unreadable", "c/unreadable", "d/fails")
    claim = _claim(clinic)

    recorded = clinic.inbox.record(claim, clinic.assessor.assess(claim.attachments))
    twice = recorded + clinic.inbox.record(claim, _batch(clinic, claim))

    assert recorded.reasons == {ErrorCode.CORRUPT: 2, ErrorCode.SCORING_FAILED: 1}
    assert (recorded.photos, recorded.scored, recorded.not_assessable, recorded.failed) == (4, 1, 2, 1)
    assert (twice.photos, twice.stale, twice.reasons) == (8, 4, recorded.reasons)


def test_failed_photo_is_retried_alone(clinic: Clinic) -> None:
    clinic.send("m", "a/0.9", "b/0.9")
    claim = _claim(clinic)
    clinic.inbox.record(claim, _failed(clinic, claim))

    assert clinic.inbox.claim(10, retry=False) is None
    assert len(_claim(clinic, 1, retry=True).attachments) == 1


def test_photo_is_parked_with_its_code_when_it_has_used_its_attempts(clinic: Clinic) -> None:
    clinic.send("m", "a/fails", "b/0.9")
    clinic.drain()

    rows = {
        row.external_id: tuple(row)[1:]
        for row in clinic.query("SELECT external_id, status, error_code, attempts FROM attachment")
    }
    assert rows == {"a/fails": ("not_assessable", "scoring_failed", 3), "b/0.9": ("scored", None, 1)}
    assert clinic.decisions("m") == [("pass", "photo_passed")]


def test_failing_photo_does_not_count_as_bad_quality(clinic: Clinic) -> None:
    clinic.send("m", "a/fails", "b/0.1")
    clinic.drain()

    assert clinic.decisions("m") == [("uncertain", "unreadable_photo")]
    assert not clinic.requests()


def test_sweep_requeues_photos_of_a_lost_worker(clinic: Clinic) -> None:
    clinic.send("m", "a/0.9", "b/0.9")
    _claim(clinic)
    assert clinic.inbox.sweep().requeued == 0  # the lease still holds

    _expire_leases(clinic)
    swept = clinic.inbox.sweep()

    assert (swept.requeued, swept.parked, swept.due) == (2, 0, True)
    clinic.drain()
    assert clinic.decisions("m") == [("pass", "photo_passed")]


def test_lost_leases_do_not_count_as_attempts(make_clinic: Callable[..., Clinic]) -> None:
    clinic = make_clinic(max_attempts=2)
    clinic.send("m", "a/0.9", "b/0.9")
    for retry in (False, True, True, True):
        _lose_workers(clinic, retry=retry)

    assert clinic.query("SELECT DISTINCT status, attempts, lost_leases FROM attachment") == [("pending", 0, 4)]
    clinic.drain()
    assert clinic.query("SELECT DISTINCT status, attempts FROM attachment") == [("scored", 1)]


def test_failures_count_apart_from_lost_leases(make_clinic: Callable[..., Clinic]) -> None:
    clinic = make_clinic(max_attempts=2)
    clinic.send("m", "a/0.9")
    _lose_workers(clinic, retry=False)
    for status in ("pending", "not_assessable"):
        claim = _claim(clinic, retry=True)
        clinic.inbox.record(claim, _failed(clinic, claim))

        assert clinic.query("SELECT status FROM attachment") == [(status,)]


def test_storage_faults_use_no_attempts_and_delay_the_next_read(clinic: Clinic) -> None:
    clinic.send("m", "a/0.9", "b/0.9")
    for faults in (1, 2, 3, 4):
        claim = _claim(clinic)
        recorded = clinic.inbox.record(claim, _unreadable(clinic, claim))

        assert (recorded.failed, recorded.reasons) == (2, {ErrorCode.FETCH_FAILED: 2})
        assert clinic.query("SELECT DISTINCT status, attempts, storage_faults FROM attachment") == [
            ("pending", 0, faults)
        ]
        assert clinic.inbox.claim(10, retry=False) is None
        [(seconds,)] = clinic.query("SELECT round(extract(epoch FROM max(due_at) - clock_timestamp())) FROM attachment")
        assert seconds in {faults - 1, faults}
        clinic.execute("UPDATE attachment SET due_at = clock_timestamp()")

    assert not clinic.decisions("m")
    clinic.drain()
    assert clinic.query("SELECT DISTINCT status, attempts FROM attachment") == [("scored", 1)]


def test_photo_is_parked_when_its_storage_has_failed_for_long(clinic: Clinic) -> None:
    clinic.send("m", "a/0.9")
    for faults, code in ((997, None), (999, "fetch_failed")):
        clinic.execute(f"UPDATE attachment SET storage_faults = {faults}, due_at = clock_timestamp()")
        claim = _claim(clinic)
        clinic.inbox.record(claim, _unreadable(clinic, claim))

        assert clinic.query("SELECT error_code FROM attachment") == [(code,)]
        [(minutes,)] = clinic.query("SELECT extract(epoch FROM due_at - clock_timestamp()) / 60 FROM attachment")
        assert minutes <= 10
    assert clinic.decisions("m") == [("not_assessable", "no_readable_photo")]


def test_photo_is_claimed_alone_when_a_worker_that_held_it_was_lost(clinic: Clinic) -> None:
    clinic.send("m", "a/0.9", "b/0.9")
    assert [photo.is_retry for photo in _claim(clinic).attachments] == [False, False]
    _expire_leases(clinic)
    clinic.inbox.sweep()

    assert clinic.inbox.claim(10, retry=False) is None
    assert [photo.is_retry for photo in _claim(clinic, 1, retry=True).attachments] == [True]


def test_sweep_parks_and_decides_when_a_photo_kills_its_worker_each_time(make_clinic: Callable[..., Clinic]) -> None:
    clinic = make_clinic(max_lost_leases=4)
    clinic.send("m", "a/0.9")
    swept = [_lose_workers(clinic, retry=retry) for retry in (False, True, True, True)]

    assert [(each.requeued, each.parked, each.due) for each in swept] == [(1, 0, True)] * 3 + [(0, 1, False)]
    [(code,)] = clinic.query("SELECT error_code FROM attachment")
    assert code == "attempts_exhausted"
    assert clinic.decisions("m") == [("not_assessable", "no_readable_photo")]


def test_concurrent_sweeps_requeue_each_photo_once(clinic: Clinic) -> None:
    clinic.send("m", *(f"{number}/0.9" for number in range(20)))
    _claim(clinic, 20)
    _expire_leases(clinic)

    with ThreadPoolExecutor(4) as pool:
        swept = list(pool.map(lambda _: clinic.inbox.sweep(), range(4)))

    assert sum(result.requeued for result in swept) == 20


def test_release_does_not_count_as_an_attempt(clinic: Clinic) -> None:
    clinic.send("m", "a/0.9")
    clinic.inbox.release(_claim(clinic))

    assert clinic.query("SELECT attempts, status FROM attachment") == [(0, "pending")]


def test_message_is_decided_once_when_its_photos_are_recorded_concurrently(clinic: Clinic) -> None:
    for number in range(20):
        clinic.send(f"m{number}", "a/0.1", "b/0.1", thread=f"t{number}")
        claims = [_claim(clinic, 1), _claim(clinic, 1)]
        barrier = threading.Barrier(2)

        def record(claim: Claim, barrier: threading.Barrier = barrier) -> None:
            barrier.wait()
            clinic.inbox.record(claim, _batch(clinic, claim, 0.1))

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(record, claims))

    assert all(clinic.decisions(f"m{number}") == [("retake", "no_photo_passed")] for number in range(20))
    assert len(clinic.requests()) == 20


def test_thread_limit_holds_when_its_messages_are_decided_concurrently(clinic: Clinic) -> None:
    claims = []
    for number in range(6):
        clinic.send(f"m{number}", f"{number}/0.1", thread="one")
        claims.append(_claim(clinic, 1))
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda claim: clinic.inbox.record(claim, _batch(clinic, claim, 0.1)), claims))

    assert len(clinic.requests()) == 1  # the cooldown prevents the others
    ids = {UUID(str(row.id)) for row in clinic.query("SELECT current_decision_id AS id FROM message")}
    assert len(ids) == 6
