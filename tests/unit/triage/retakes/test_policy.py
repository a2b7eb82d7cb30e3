from datetime import UTC, datetime, timedelta

import pytest

from triage.domain.ids import AttachmentId, new_id
from triage.domain.messages import AssessedPhoto, ThreadHistory
from triage.domain.states import Outcome, Reason
from triage.retakes.policy import Decision, RetakePolicy, decide_by_quality, limit_requests

POLICY = RetakePolicy()
NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)
RETAKE = Decision(Outcome.RETAKE, Reason.NO_PHOTO_PASSED)


def _photo(
    score: float | None,
    group: str | None = None,
    *,
    sha256: str | None = "a",
    thresholds: dict[int, float] | None = None,
) -> AssessedPhoto:
    return AssessedPhoto(AttachmentId(new_id()), "a", group, score, 0.5, thresholds or {}, sha256)


@pytest.mark.parametrize(
    ("scores", "outcome", "reason"),
    [
        ([0.5], Outcome.PASS, Reason.PHOTO_PASSED),
        ([0.1, 0.9, 0.1], Outcome.PASS, Reason.PHOTO_PASSED),
        ([None, 0.9], Outcome.PASS, Reason.PHOTO_PASSED),
        ([0.49], Outcome.RETAKE, Reason.NO_PHOTO_PASSED),
        ([0.1, 0.2], Outcome.RETAKE, Reason.NO_PHOTO_PASSED),
        ([0.1, None], Outcome.UNCERTAIN, Reason.UNREADABLE_PHOTO),
        ([None], Outcome.NOT_ASSESSABLE, Reason.NO_READABLE_PHOTO),
        ([None, None], Outcome.NOT_ASSESSABLE, Reason.NO_READABLE_PHOTO),
    ],
)
def test_group_is_decided_by_its_best_photo(scores: list[float | None], outcome: Outcome, reason: Reason) -> None:
    assert decide_by_quality([_photo(score) for score in scores], POLICY) == Decision(outcome, reason)


@pytest.mark.parametrize(
    ("groups", "outcome"),
    [
        ({"arm": [0.9], "leg": [0.9]}, Outcome.PASS),
        ({"arm": [0.9, 0.1], "leg": [0.1]}, Outcome.RETAKE),
        ({"arm": [None], "leg": [0.9]}, Outcome.NOT_ASSESSABLE),
        ({"arm": [None], "leg": [0.1]}, Outcome.RETAKE),
        ({"arm": [None, 0.1], "leg": [0.9]}, Outcome.UNCERTAIN),
        ({"arm": [None, 0.1], "leg": [0.1]}, Outcome.RETAKE),
    ],
)
def test_message_is_decided_by_its_worst_group(groups: dict[str, list[float | None]], outcome: Outcome) -> None:
    photos = [_photo(score, group) for group, scores in groups.items() for score in scores]

    assert decide_by_quality(photos, POLICY).outcome is outcome


def test_threshold_depends_on_photo_count_when_the_card_has_one() -> None:
    thresholds = {2: 0.7}

    assert decide_by_quality([_photo(0.6, thresholds=thresholds)], POLICY).outcome is Outcome.PASS
    two = [_photo(0.6, thresholds=thresholds), _photo(0.6, thresholds=thresholds)]
    assert decide_by_quality(two, POLICY).outcome is Outcome.RETAKE


def test_message_is_uncertain_when_the_best_score_is_within_the_margin() -> None:
    policy = RetakePolicy(uncertain_margin=0.05)

    assert decide_by_quality([_photo(0.46)], policy) == Decision(Outcome.UNCERTAIN, Reason.NEAR_THRESHOLD)
    assert decide_by_quality([_photo(0.44)], policy).outcome is Outcome.RETAKE


def _limited(history: ThreadHistory, *, opted_out: bool = False, photos: tuple[str, ...] = ("new",)) -> Decision:
    assessed = [_photo(0.1, sha256=sha256) for sha256 in photos]
    return limit_requests(RETAKE, assessed, history, POLICY, opted_out=opted_out, now=NOW)


def _requested(hours_ago: float, *, requests: int = 1, photos: tuple[str, ...] = ("old",)) -> ThreadHistory:
    return ThreadHistory(requests, NOW - timedelta(hours=hours_ago), frozenset(photos))


@pytest.mark.parametrize(
    ("history", "reason"),
    [
        (ThreadHistory(), None),
        (_requested(24), None),
        (_requested(23.9), Reason.COOLDOWN),
        (_requested(1000, requests=2), Reason.REQUEST_LIMIT),
        (_requested(1000, photos=("new",)), Reason.IDENTICAL_RESEND),
    ],
)
def test_retake_is_uncertain_when_the_patient_must_not_be_requested(
    history: ThreadHistory, reason: Reason | None
) -> None:
    expected = RETAKE if reason is None else Decision(Outcome.UNCERTAIN, reason)

    assert _limited(history) == expected


def test_resend_is_not_identical_when_one_photo_is_new() -> None:
    assert _limited(_requested(1000), photos=("old", "new")) == RETAKE
    assert _limited(_requested(1000), photos=("old", "old")).reason is Reason.IDENTICAL_RESEND


def test_opt_out_is_checked_first() -> None:
    assert _limited(ThreadHistory(), opted_out=True) == Decision(Outcome.UNCERTAIN, Reason.OPTED_OUT)


def test_other_decisions_are_unchanged_by_the_limits() -> None:
    passed = Decision(Outcome.PASS, Reason.PHOTO_PASSED)

    assert limit_requests(passed, [], _requested(0, requests=9), POLICY, opted_out=True, now=NOW) == passed
