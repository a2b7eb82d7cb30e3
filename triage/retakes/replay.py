"""Decides a period again under a scenario: the rules of `triage.retakes.policy` over arrays.

Quality is decided in numpy, for a million messages at once; a test holds it equal to `decide_by_quality`. The limits of
requests depend on the order of a thread's messages, so `limit_requests` itself decides each message that may get a
request and whose thread has another one.

Axes: P parts (the photos of one group and model), G groups, D decisions in the order of their times.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, Final
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from triage.domain.ids import AttachmentId
from triage.domain.messages import AssessedPhoto, ThreadHistory
from triage.domain.states import Outcome, Reason
from triage.retakes.policy import Decision, RetakePolicy, limit_requests
from triage.statistics.arrays import Bools, Floats, Ints
from triage.storage.replay_rows import EPOCH, OUTCOMES, REASONS, Rows

HashesOf = Callable[[Sequence[UUID]], Mapping[UUID, frozenset[str]]]

_PASS: Final = Decision(Outcome.PASS, Reason.PHOTO_PASSED)
_BY_SEVERITY: Final = (
    _PASS,
    Decision(Outcome.NOT_ASSESSABLE, Reason.NO_READABLE_PHOTO),
    Decision(Outcome.UNCERTAIN, Reason.UNREADABLE_PHOTO),
    Decision(Outcome.UNCERTAIN, Reason.NEAR_THRESHOLD),
    Decision(Outcome.RETAKE, Reason.NO_PHOTO_PASSED),
)
_SEVERITY: Final = np.array([0, 1, 2, 2, 3])
"""Of the same places: the two kinds of `uncertain` weigh the same, and the first group gives the reason."""
_RETAKE: Final = 4
_OF_PARTS: Final = ("group", "model", "first", "n", "scored", "missing", "best", "margin")
_NOT_OPTED_OUT: Final = (Reason.NO_PHOTO_PASSED, Reason.REQUEST_LIMIT, Reason.IDENTICAL_RESEND, Reason.COOLDOWN)
_IN_PLACE: Final = AttachmentId(UUID(int=0))


@dataclass(frozen=True, slots=True)
class Thresholds:
    """
    Attributes:
        single: from which a photo passes; None for that of its verdict.
        by_photo_count: for groups of n photos, of each model in the order of the parts' `model`.
    """

    single: float | None
    by_photo_count: Sequence[Mapping[int, float]]


@dataclass(frozen=True, slots=True)
class Replayed:
    """
    Attributes:
        outcomes, reasons: int (D,), positions in `OUTCOMES` and `REASONS`.
        requests: bool (D,), decisions that flag a retake request.
    """

    outcomes: Ints
    reasons: Ints
    requests: Bools


class Period:
    """The decisions of a period, ready to be replayed several times."""

    def __init__(self, parts: Rows, requests: Rows, hashes_of: HashesOf) -> None:
        """
        Args:
            parts: from `read_parts`.
            requests: from `read_requests`.
            hashes_of: gives the hashes of messages' photos, see `read_hashes`.
        """
        message, at = keys_of(parts["message"]), parts["at"]
        order = _in_order(at, message, parts["group"])
        message, at = message[order], at[order]
        self._parts = {name: parts[name][order] for name in _OF_PARTS}
        new_decision = _changes(message, at)
        new_group = new_decision | _changes(self._parts["group"])
        self._groups = np.flatnonzero(new_group)  # (G,) the start of each group
        self._decision_of_group = (np.cumsum(new_decision) - 1)[self._groups]  # (G,)
        starts = np.flatnonzero(new_decision)  # (D,) the start of each decision
        heads = order[starts]
        self.message, self.thread, self.at = message[starts], keys_of(parts["thread"][heads]), at[starts]
        self.missing: Bools = np.add.reduceat(self._parts["missing"], starts) > 0 if len(starts) else np.zeros(0, bool)
        self.outcomes: Ints = parts["outcome"][heads].astype(np.int64)
        self.reasons: Ints = parts["reason"][heads].astype(np.int64)
        self._ids, self._marked = parts["message"][heads], parts["opted_out"][heads] > 0
        self._messages, self._number, self.is_last = _last_of_each(self.message)
        self._requests = requests
        self._hashes_of = hashes_of

    def __len__(self) -> int:
        return len(self.message)

    @cached_property
    def _opted_out(self) -> Bools:
        """Who had opted out at the decision: an opt-out marks earlier messages too, whose reason contradicts it."""
        contradicts = np.isin(self.reasons, [REASONS.index(reason) for reason in _NOT_OPTED_OUT])
        opted_out: Bools = self._marked & ~contradicts
        return opted_out

    def of_messages(self, decisions: Bools) -> Bools:
        """For each decision, whether any decision on its message is among these: (D,)."""
        return self._of_numbers(self._number[decisions])

    def among(self, messages: NDArray[np.uint64]) -> Bools:
        """For each decision, whether its message is among these: (D,)."""
        known = messages[_are_among(messages, self._messages)]
        return self._of_numbers(np.searchsorted(self._messages, known))

    def _of_numbers(self, numbers: Ints) -> Bools:
        chosen = np.zeros(len(self._messages), bool)
        chosen[numbers] = True
        return chosen[self._number]

    def replay(self, policy: RetakePolicy, thresholds: Thresholds) -> Replayed:
        """Decides all messages again."""
        found = self._by_quality(policy, thresholds)  # (D,) positions in _BY_SEVERITY
        outcomes = np.array([OUTCOMES.index(each.outcome) for each in _BY_SEVERITY])[found]
        reasons = np.array([REASONS.index(each.reason) for each in _BY_SEVERITY])[found]
        for place, decision in self._limited(np.flatnonzero(found == _RETAKE), policy):
            outcomes[place], reasons[place] = OUTCOMES.index(decision.outcome), REASONS.index(decision.reason)
        return Replayed(outcomes, reasons, outcomes == OUTCOMES.index(Outcome.RETAKE))

    def _by_quality(self, policy: RetakePolicy, thresholds: Thresholds) -> Ints:
        if not len(self):
            return np.zeros(0, np.int64)
        parts, groups = self._parts, self._groups
        n = np.add.reduceat(parts["n"], groups)  # (P,) -> (G,)
        scored = np.add.reduceat(parts["scored"], groups)
        margin = np.maximum.reduceat(self._margins(n, thresholds), groups)
        places = np.select(
            [scored == 0, margin >= 0, scored < n, margin >= -policy.uncertain_margin], [1, 0, 2, 3], _RETAKE
        )  # (G,)
        return self._worst(places)

    def _margins(self, n_of_group: Ints, thresholds: Thresholds) -> Floats:
        """How far the best score of each part is above its threshold: (P,)."""
        parts = self._parts
        best, margin = parts["best"], parts["margin"].copy()
        if thresholds.single is not None:
            margin = best - thresholds.single
        sizes = np.diff(np.append(self._groups, len(parts["n"])))
        n = np.repeat(n_of_group, sizes)  # (G,) -> (P,)
        for model, by_count in enumerate(thresholds.by_photo_count):
            for count, threshold in by_count.items():
                chosen = (parts["model"] == model) & (n == count)
                margin[chosen] = best[chosen] - threshold
        return margin

    def _worst(self, places: Ints) -> Ints:
        """The worst group of each decision; of equally bad ones, that whose first photo came first. (G,) -> (D,)."""
        if len(places) == len(self):
            return places  # every decision is about one group
        severity = _SEVERITY[places]
        starts = np.flatnonzero(_changes(self._decision_of_group))
        worst = np.maximum.reduceat(severity, starts)[self._decision_of_group]  # (G,)
        received = np.minimum.reduceat(self._parts["first"], self._groups)  # (P,) -> (G,)
        first = np.where(severity == worst, received, np.iinfo(np.int64).max)
        is_first = first == np.minimum.reduceat(first, starts)[self._decision_of_group]
        chosen: Ints = np.maximum.reduceat(np.where(is_first, places, -1), starts)
        return chosen

    def _limited(self, candidates: Ints, policy: RetakePolicy) -> list[tuple[int, Decision]]:
        """The decisions that differ from a retake among those that quality alone would decide so."""
        retake = _BY_SEVERITY[_RETAKE]
        alone = {
            opted_out: limit_requests(retake, (), ThreadHistory(), policy, opted_out=opted_out, now=EPOCH)
            for opted_out in (False, True)
        }
        history = self._facts(candidates)
        threads, opted_out = self.thread[candidates], self._opted_out[candidates]
        distinct, numbers, counts = np.unique(threads, return_inverse=True, return_counts=True)
        several = (counts > 1) | np.isin(distinct, np.fromiter(history, np.uint64, len(history)))
        is_shared = several[numbers] & ~opted_out
        changed = [
            (place, alone[is_out])
            for is_out in (False, True)
            if alone[is_out] != retake
            for place in candidates[~is_shared & (opted_out == is_out)].tolist()
        ]
        shared = list(zip(candidates[is_shared].tolist(), threads[is_shared].tolist(), strict=True))
        return changed + self._in_turn(shared, history, policy)

    def _in_turn(
        self, shared: Sequence[tuple[int, int]], history: dict[int, list["_Past"]], policy: RetakePolicy
    ) -> list[tuple[int, Decision]]:
        """Decides messages of threads with several requests one after another."""
        ids = {place: UUID(bytes=self._ids[place].tobytes()) for place, _ in shared}
        asked = {past.id for pasts in history.values() for past in pasts}
        hashes = self._hashes_of(list({*ids.values(), *asked})) if shared else {}
        voids = self._voids
        changed = []
        for place, thread in shared:
            message, at = int(self.message[place]), int(self.at[place])
            own = hashes.get(ids[place], frozenset())
            pasts = [p for p in history.get(thread, ()) if p.message != message and p.at <= at < p.void]
            decision = limit_requests(
                _BY_SEVERITY[_RETAKE],
                [AssessedPhoto(_IN_PLACE, "", None, 0.0, 0.0, {}, sha256) for sha256 in own],
                ThreadHistory(
                    len(pasts),
                    max((_time(p.at) for p in pasts), default=None),
                    frozenset().union(*(hashes.get(p.id, frozenset()) for p in pasts)),
                ),
                policy,
                opted_out=False,
                now=_time(at),
            )
            if decision.outcome is not Outcome.RETAKE:
                changed.append((place, decision))
            elif all(p.message != message for p in history.get(thread, ())):
                void = voids.get(message, np.iinfo(np.int64).max)
                history.setdefault(thread, []).append(_Past(message, ids[place], at, void))
        return changed

    def _facts(self, candidates: Ints) -> dict[int, list["_Past"]]:
        """The requests that a replay does not decide, of the threads of these decisions. By thread."""
        requests, others = self._requests, self._others
        message, thread = (keys_of(requests[name][others]) for name in ("message", "thread"))
        found: dict[int, list[_Past]] = {}
        for place in np.flatnonzero(_are_among(thread, np.sort(self.thread[candidates]))).tolist():
            row = others[place]
            id_ = UUID(bytes=requests["message"][row].tobytes())
            past = _Past(int(message[place]), id_, int(requests["at"][row]), int(requests["void"][row]))
            found.setdefault(int(thread[place]), []).append(past)
        return found

    @cached_property
    def _others(self) -> Ints:
        """The places of the requests that no replay decides: of a person, or of messages before the period."""
        requests = self._requests
        is_other = (requests["by_person"] != 0) | (requests["at"] < self.at.min(initial=np.iinfo(np.int64).max))
        own = np.flatnonzero(~is_other)
        is_other[own] = ~_are_among(keys_of(requests["message"][own]), self._messages)
        return np.flatnonzero(is_other)

    @cached_property
    def _voids(self) -> dict[int, int]:
        """Until when the requests of the period's messages count, where one was withdrawn before it was claimed."""
        requests = self._requests
        ended = np.flatnonzero(requests["void"] != np.iinfo(np.int64).max)
        return dict(zip(keys_of(requests["message"][ended]).tolist(), requests["void"][ended].tolist(), strict=True))


@dataclass(frozen=True, slots=True)
class _Past:
    message: int
    id: UUID
    at: int
    void: int


def keys_of(ids: NDArray[Any]) -> NDArray[np.uint64]:
    """Numbers for UUIDs. Of ten million, two share one with a probability of 3 in a million."""
    halves = np.ascontiguousarray(ids).view(">u8").reshape(-1, 2).astype(np.uint64)
    keys: NDArray[np.uint64] = halves[:, 0] * np.uint64(0x9E3779B97F4A7C15) + halves[:, 1]
    return keys


def _changes(*columns: NDArray[Any]) -> Bools:
    """Where a row differs from the one before it; the first row does."""
    changed = np.zeros(len(columns[0]), bool)
    changed[:1] = True
    for column in columns:
        changed[1:] |= column[1:] != column[:-1]
    return changed


def _in_order(at: NDArray[Any], message: NDArray[np.uint64], group: NDArray[Any]) -> Ints:
    """The places of rows ordered by time, message and group. Only the rows of one decision share a time, as a rule."""
    order = np.argsort(at)
    first = _changes(at[order])
    tied = np.flatnonzero(~first | ~np.append(first[1:], True)) if len(at) else order
    rows = order[tied]
    order[tied] = rows[np.lexsort((group[rows], message[rows], at[rows]))]
    return order


def _last_of_each(keys: NDArray[np.uint64]) -> tuple[NDArray[np.uint64], Ints, Bools]:
    """The distinct keys in their order (m,), the place of each key among them (n,), and the last of each: bool (n,)."""
    order = np.argsort(keys)
    ordered = keys[order]
    starts = _changes(ordered)
    number = np.empty(len(keys), np.int64)
    number[order] = np.cumsum(starts) - 1
    last = np.zeros(len(keys), bool)
    if len(keys):
        last[np.maximum.reduceat(order, np.flatnonzero(starts))] = True
    return ordered[starts], number, last


def _are_among(keys: NDArray[np.uint64], ordered: NDArray[np.uint64]) -> Bools:
    """Which keys are among others that are in order."""
    if not len(ordered):
        return np.zeros(len(keys), bool)
    places = np.minimum(np.searchsorted(ordered, keys), len(ordered) - 1)
    found: Bools = ordered[places] == keys
    return found


def _time(microseconds: int) -> datetime:
    return EPOCH + timedelta(microseconds=microseconds)
