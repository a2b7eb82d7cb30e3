"""Replay over arrays decides as the policy does over photos."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from triage.domain.ids import AttachmentId
from triage.domain.messages import AssessedPhoto
from triage.retakes.policy import Decision, RetakePolicy, decide_by_quality
from triage.retakes.replay import Period, Thresholds
from triage.storage.replay_rows import OUTCOMES, REASONS, Rows

PARTS = np.dtype(
    [
        ("message", "V16"),
        ("thread", "V16"),
        ("at", "i8"),
        ("opted_out", "i4"),
        ("outcome", "i4"),
        ("reason", "i4"),
        ("group", "i8"),
        ("model", "i4"),
        ("first", "i8"),
        ("n", "i4"),
        ("scored", "i4"),
        ("missing", "i4"),
        ("best", "f8"),
        ("margin", "f8"),
    ]
)
REQUESTS = np.dtype([("message", "V16"), ("thread", "V16"), ("at", "i8"), ("void", "i8"), ("by_person", "i4")])
NEVER = np.iinfo(np.int64).max
HOUR = 3_600_000_000
BY_COUNT = [{2: 0.4, 3: 0.7}, {}]

scores = st.none() | st.sampled_from([0.1, 0.3, 0.4, 0.45, 0.5, 0.55, 0.7, 0.9])
photos = st.tuples(scores, st.sampled_from([None, "arm", "leg"]), st.sampled_from([0, 1]))
messages = st.lists(st.lists(photos, min_size=1, max_size=6), min_size=1, max_size=8)


def _assessed(message: Sequence[tuple[float | None, str | None, int]]) -> list[AssessedPhoto]:
    return [
        AssessedPhoto(AttachmentId(uuid4()), "", group, score, 0.5, BY_COUNT[model] if score is not None else {}, "a")
        for score, group, model in message
    ]


def _rows(message: Sequence[tuple[float | None, str | None, int]], number: int) -> list[tuple[Any, ...]]:
    """The parts of a message as `read_parts` gives them."""
    parts: dict[tuple[str | None, int], list[tuple[int, float | None]]] = {}
    for place, (score, group, model) in enumerate(message):
        parts.setdefault((group, -1 if score is None else model), []).append((place, score))
    id_ = UUID(int=number + 1).bytes
    return [
        (
            *(id_, id_, number, 0, 0, 0, hash(group), model),
            min(place for place, _ in members),
            len(members),
            sum(score is not None for _, score in members),
            0,
            max((score for _, score in members if score is not None), default=-np.inf),
            max((score - 0.5 for _, score in members if score is not None), default=-np.inf),
        )
        for (group, model), members in parts.items()
    ]


def _period(rows: Sequence[tuple[Any, ...]], requests: Sequence[tuple[Any, ...]] = ()) -> Period:
    return Period(_columns(rows, PARTS), _columns(requests, REQUESTS), lambda _: {})


def _columns(rows: Sequence[tuple[Any, ...]], kinds: np.dtype[Any]) -> Rows:
    table = np.array(list(rows), kinds)
    return {name: table[name] for name in kinds.names or ()}


def _decisions(period: Period, policy: RetakePolicy, thresholds: Thresholds) -> list[Decision]:
    found = period.replay(policy, thresholds)
    return [Decision(OUTCOMES[o], REASONS[r]) for o, r in zip(found.outcomes, found.reasons, strict=True)]


def _one_model(message: Sequence[tuple[float | None, str | None, int]]) -> list[tuple[float | None, str | None, int]]:
    """The photos of a group are scored by one model."""
    return [(score, group, len(group or "") % 2) for score, group, _ in message]


@given(messages=messages, margin=st.sampled_from([0.0, 0.05, 0.2]), mixed=st.booleans())
def test_quality_is_decided_as_by_the_policy(messages: Any, margin: float, mixed: bool) -> None:
    if not mixed:
        messages = [_one_model(message) for message in messages]
    policy = RetakePolicy(uncertain_margin=margin)
    period = _period([row for number, message in enumerate(messages) for row in _rows(message, number)])

    found = _decisions(period, policy, Thresholds(None, BY_COUNT))

    assert found == [decide_by_quality(_assessed(message), policy) for message in messages]


@given(messages=messages, threshold=st.sampled_from([0.0, 0.3, 0.5, 0.6, 1.0]))
def test_threshold_of_a_scenario_replaces_those_of_verdicts(messages: Any, threshold: float) -> None:
    policy, by_count = RetakePolicy(), {2: 0.45}
    period = _period([row for number, message in enumerate(messages) for row in _rows(message, number)])

    found = _decisions(period, policy, Thresholds(threshold, [by_count, by_count]))

    expected = [
        decide_by_quality(
            [
                AssessedPhoto(AttachmentId(uuid4()), "", group, score, threshold, by_count, "a")
                for score, group, _ in message
            ],
            policy,
        )
        for message in messages
    ]
    assert found == expected


def _bad(message: int, thread: int, hours: float, **changes: int) -> tuple[Any, ...]:
    row = dict(zip(PARTS.names or (), (0,) * 14, strict=True)) | {
        "message": UUID(int=message).bytes,
        "thread": UUID(int=thread).bytes,
        "at": int(hours * HOUR),
        "n": 1,
        "scored": 1,
        "best": 0.1,
        "margin": -0.4,
    }
    return tuple((row | changes).values())


def _outcomes(period: Period, policy: RetakePolicy) -> list[str]:
    return [REASONS[reason].value for reason in period.replay(policy, Thresholds(None, [{}])).reasons]


def test_requests_of_a_thread_are_limited_in_the_order_of_decisions() -> None:
    period = _period([_bad(4, 1, 60), _bad(3, 1, 30), _bad(2, 1, 1), _bad(1, 1, 0), _bad(9, 2, 2)])

    assert _outcomes(period, RetakePolicy()) == [
        "no_photo_passed",
        "cooldown",
        "no_photo_passed",  # of the other thread
        "no_photo_passed",
        "request_limit",
    ]
    assert _outcomes(period, RetakePolicy(max_requests_per_thread=0)) == ["request_limit"] * 5
    assert _outcomes(period, RetakePolicy(4, timedelta(0))) == ["no_photo_passed"] * 5


@pytest.mark.parametrize(
    ("void", "by_person", "expected"),
    [(NEVER, 1, "cooldown"), (HOUR, 1, "no_photo_passed"), (NEVER, 0, "cooldown")],
)
def test_stored_requests_count_until_they_are_withdrawn(void: int, by_person: int, expected: str) -> None:
    request = (UUID(int=7).bytes, UUID(int=1).bytes, 0, void, by_person)  # message 7 is not of the period

    assert _outcomes(_period([_bad(1, 1, 2)], [request]), RetakePolicy()) == [expected]


def test_request_that_was_withdrawn_unclaimed_does_not_count() -> None:
    request = (UUID(int=1).bytes, UUID(int=1).bytes, 0, HOUR, 0)

    assert _outcomes(_period([_bad(1, 1, 0), _bad(2, 1, 2)], [request]), RetakePolicy()) == ["no_photo_passed"] * 2


def test_opt_out_holds_unless_the_stored_reason_contradicts_it() -> None:
    asked = next(place for place, reason in enumerate(REASONS) if reason.value == "no_photo_passed")
    opted_out = next(place for place, reason in enumerate(REASONS) if reason.value == "opted_out")
    period = _period([_bad(1, 1, 0, opted_out=1, reason=asked), _bad(2, 2, 1, opted_out=1, reason=opted_out)])

    assert _outcomes(period, RetakePolicy()) == ["no_photo_passed", "opted_out"]


def test_empty_period_is_replayed() -> None:
    assert len(_period([]).replay(RetakePolicy(), Thresholds(None, [])).outcomes) == 0
