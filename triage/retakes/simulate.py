"""The burden simulator: what other thresholds, limits or another model would have meant for a past period.

It replays the stored scores and changes nothing. The same replay with today's settings says how well it reproduces the
stored decisions.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from typing import Any, Final

import numpy as np
from pydantic import PositiveInt

from triage.domain.card import RegisteredModel, UnreadableModel
from triage.domain.reporting import Period
from triage.domain.states import Outcome
from triage.errors import UsageError
from triage.retakes import replay
from triage.retakes.policy import RetakePolicy
from triage.retakes.replay import Replayed, Thresholds
from triage.retakes.scenario import Scenario, settings_of
from triage.statistics.arrays import Bools
from triage.statistics.proportions import Share
from triage.storage import model_versions as models
from triage.storage import replay_rows
from triage.storage.at_once import CONNECTIONS, read_at_once
from triage.storage.database import Sessions
from triage.storage.replay_rows import OUTCOMES
from triage.storage.use_case import use_case

_PARTS: Final = 8
"""In which a period is read. Smaller ones need less memory, and share the connections evenly."""
_STAFF = [OUTCOMES.index(Outcome.UNCERTAIN), OUTCOMES.index(Outcome.NOT_ASSESSABLE)]


@use_case
def simulate(
    sessions: Sessions,
    period: Period,
    scenario: Scenario,
    *,
    policy: RetakePolicy,
    at_once: PositiveInt = CONNECTIONS,
) -> dict[str, Any]:
    """Replays the decisions of a period under a scenario and under today's settings.

    Args:
        sessions: of any role; it only reads.
        period: of the receipt of messages; it has a start.
        scenario: what to change.
        policy: today's limits.
        at_once: how many queries run at a time, each on one core of the database.

    Returns:
        `{since, until, days, messages, left_out, reproduced, labelled, appealed, model, weights_sha256, settings,
        changes, today, scenario}`. `messages` have a decision of a model; `left_out` more are not scored by the
        candidate. `reproduced` is the share of stored decisions that the replay with today's settings gives. A review
        or a decision of a person labels a message; `appealed` more have only an appeal. `settings` has today's value of
        all that a scenario can change, except the model. `today` and `scenario` have `{outcomes, requests,
        requests_per_day, staff, staff_per_day, bad_caught, needless, needless_at_least}`. `bad_caught` and `needless`
        are shares of labelled messages, with None as `value` without any; `needless_at_least` is the share of all
        requests that are appealed or labelled as needless.

    Raises:
        UsageError: the period has no start or no zone, a value of the scenario is out of range, the model is unknown,
            or it has scored no photo of the period.
    """
    scenario.check()
    since, until = _ends(period)
    with sessions() as session:
        registered = sorted(models.list_models(session), key=lambda model: str(model.id))
        live = models.live(session)
        candidate = models.find(session, scenario.model) if scenario.model else None
    ids = [model.id for model in registered]
    times = [since + (until - since) * number / _PARTS for number in range(_PARTS + 1)]
    decisions = [
        partial(replay_rows.read_parts, since=start, until=end, models=ids, candidate=judge)
        for judge in ([None, candidate.id] if candidate else [None])
        for start, end in pairwise(times)
    ]
    others = [
        partial(replay_rows.read_requests, since=since, until=until),
        partial(replay_rows.read_labels, since=since, until=until),
    ]
    *parts, requests, labels = read_at_once(sessions, [*decisions, *others], at_once=at_once)
    with sessions() as session:
        hashes_of = partial(replay_rows.read_hashes, session)
        stored = replay.Period(replay_rows.joined(*parts[:_PARTS]), requests, hashes_of)
        other = replay.Period(replay_rows.joined(*parts[_PARTS:]), requests, hashes_of) if candidate else stored
        cards = [_thresholds_by_photo_count(model) for model in registered]
        today = stored.replay(policy, Thresholds(None, cards))
        changed = other.replay(scenario.policy(policy), _thresholds(scenario, cards))
    counted = stored.is_last & ~other.missing
    if candidate and len(stored) and not counted.any():
        raise UsageError("this model has not scored the photos of the period: let it score as a shadow, or rescore")
    days = (until - since) / timedelta(days=1)
    known = _Labels.of(stored, labels)
    same = (today.outcomes == stored.outcomes) & (today.reasons == stored.reasons)
    return {
        "since": since.isoformat(),
        "until": until.isoformat(),
        "days": days,
        "messages": int(counted.sum()),
        "left_out": int((stored.is_last & other.missing).sum()),
        "reproduced": _share(Share(int(same.sum()), len(same))),
        "labelled": int((known.good | known.bad)[counted].sum()),
        "appealed": int((known.appealed & ~(known.good | known.bad))[counted].sum()),
        "model": live.card.label if live else None,
        "weights_sha256": live.card.weights_sha256 if live else None,
        "settings": settings_of(policy, live.card if live else None),
        "changes": scenario.changes(),
        "today": _burden(stored, today, counted, known, days),
        "scenario": _burden(stored, changed, counted, known, days),
    }


@dataclass(frozen=True, slots=True)
class _Labels:
    """What people said about the message of each decision: photos good enough, to be taken again, or an appeal."""

    good: Bools
    bad: Bools
    appealed: Bools

    @classmethod
    def of(cls, period: replay.Period, labels: replay_rows.Rows) -> "_Labels":
        keys = replay.keys_of(labels["message"])
        chosen = (labels["is_good"] == 1, labels["is_good"] == 0, labels["is_appealed"] == 1)
        return cls(*(period.among(keys[each]) for each in chosen))


def _burden(period: replay.Period, replayed: Replayed, counted: Bools, known: _Labels, days: float) -> dict[str, Any]:
    outcomes = replayed.outcomes[counted]
    asked = period.of_messages(replayed.requests)[counted]
    staff = int(np.isin(outcomes, _STAFF).sum())
    good, bad, appealed = known.good[counted], known.bad[counted], known.appealed[counted]
    return {
        "outcomes": {each.value: int((outcomes == place).sum()) for place, each in enumerate(OUTCOMES)},
        "requests": int(asked.sum()),
        "requests_per_day": float(asked.sum() / days),
        "staff": staff,
        "staff_per_day": staff / days,
        "bad_caught": _share(Share(int((asked & bad).sum()), int(bad.sum()))),
        "needless": _share(Share(int((asked & good).sum()), int((asked & (good | bad)).sum()))),
        "needless_at_least": Share(int((asked & (good | appealed)).sum()), int(asked.sum())).value,
    }


def _share(share: Share) -> dict[str, Any]:
    return {"k": share.k, "n": share.n, "value": share.value, "interval": share.interval}


def _thresholds(scenario: Scenario, cards: list[Mapping[int, float]]) -> Thresholds:
    """Those of the scenario; the cards' thresholds by number of photos count unless it names thresholds."""
    if scenario.threshold is None and not scenario.thresholds_by_photo_count:
        return Thresholds(None, cards)
    return Thresholds(scenario.threshold, [scenario.thresholds_by_photo_count] * len(cards))


def _thresholds_by_photo_count(model: RegisteredModel | UnreadableModel) -> Mapping[int, float]:
    return model.card.thresholds_by_photo_count if isinstance(model, RegisteredModel) else {}


def _ends(period: Period) -> tuple[datetime, datetime]:
    if period.since is None:
        raise UsageError("the period has no start: give one")
    period.check()
    now = datetime.now(UTC)
    until = min(period.until or now, now)
    if period.since >= until:
        raise UsageError("the period ends before it starts, or lies in the future: correct it")
    return period.since, until
