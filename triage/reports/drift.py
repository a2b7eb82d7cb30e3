"""Drift without labels: are recent photos of each source still like those at the promotion of the live model?

It compares the last complete week with the four weeks after the promotion. It proposes messages to look at and changes
nothing. Reasons and limits: docs/decisions/0034-find-drift-with-a-stated-false-alarm-rate.md
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from pydantic import AwareDatetime
from sqlalchemy.orm import Session

from triage.domain.card import RegisteredModel, UnreadableModel
from triage.domain.states import Outcome
from triage.errors import UsageError
from triage.statistics.drift import Comparison, adjust, compare_categories, compare_scores
from triage.storage import model_versions as models
from triage.storage.database import Sessions
from triage.storage.drift_samples import SampledPhoto, draw_sample
from triage.storage.use_case import use_case

FALSE_ALARM_RATE: Final = 0.01
"""The largest probability that any source raises an alarm in a week in which nothing changed."""

_REFERENCE: Final = timedelta(days=28)
_WINDOW: Final = timedelta(days=7)
_LARGEST: Final = {"reference": 2000, "current": 1000}
"""Threads of each source that are compared. More would raise an alarm for differences that do not matter."""
_SMALLEST: Final = 50
_TO_REVIEW: Final = 20


@use_case
def find_drift(sessions: Sessions, at: AwareDatetime | None = None) -> dict[str, Any]:
    """Compares the last complete week with the period at the promotion of the live model, for each source.

    Args:
        sessions: of any role; it only reads.
        at: the week is complete by this time; by default now.

    Returns:
        `{status, reason, model, promoted_at, judged_from, reference, current, false_alarm_rate, sources}`. `status` is
        `stable`, `drift` or `unknown`; then `reason` is `no_live_model`, `too_early` (before `judged_from`, when the
        first week is complete) or `too_few`. Each source has `{source, n_reference, n_current, drifted, features,
        review}`: the numbers of compared photos, whether a feature drifted (None if there are too few photos),
        `{feature, psi, p_value, adjusted_p_value, drifted}` of each feature, and ids of messages to look at if it
        drifted.

    Raises:
        UsageError: `at` lies outside of the calendar.
    """
    try:
        now = (at or datetime.now(UTC)).astimezone(UTC)
    except OverflowError:
        raise UsageError("a time lies outside of the years 1 to 9999 in UTC: correct it") from None
    with sessions() as session:
        return drift_by(session, now)


def drift_by(session: Session, now: datetime) -> dict[str, Any]:
    """The drift of the last week that is complete by a time, as `find_drift`."""
    live = models.live_since(session)
    if live is None:
        return _unknown("no_live_model")
    model, promoted = live
    reference_end = promoted + _REFERENCE
    weeks = (now - reference_end) // _WINDOW
    if weeks < 1:
        return _unknown("too_early", model, promoted)
    end = reference_end + weeks * _WINDOW
    old = draw_sample(session, promoted, reference_end, model_id=model.id, size=_LARGEST["reference"])
    new = draw_sample(session, end - _WINDOW, end, model_id=model.id, size=_LARGEST["current"])
    sources = compare_sources(old, new)
    states = {each["drifted"] for each in sources}
    status = "drift" if True in states else "stable" if False in states else "unknown"
    return _document(model, promoted) | {
        "status": status,
        "reason": "too_few" if status == "unknown" else None,
        "current": {"since": (end - _WINDOW).isoformat(), "until": end.isoformat()},
        "sources": sources,
    }


def describe(found: dict[str, Any]) -> str:
    """What `find_drift` found, as one sentence without its end."""
    match found["status"], found["reason"]:
        case "drift", _:
            drifted = ", ".join(each["source"] for each in found["sources"] if each["drifted"])
            return f"photos of {drifted} are no longer like those at the promotion of {found['model']}"
        case "stable", _:
            return f"photos are like those at the promotion of {found['model']}"
        case _, "no_live_model":
            return "unknown: no model is live"
        case _, "too_early":
            day = datetime.fromisoformat(found["judged_from"]).date()
            return f"unknown until {day}: the first week after the four weeks of reference is not complete"
        case _:
            return f"unknown: no source has at least {_SMALLEST} threads with photos in both periods"


def compare_sources(old: Sequence[SampledPhoto], new: Sequence[SampledPhoto]) -> list[dict[str, Any]]:
    """Compares photos of two periods by source, as `sources` of `find_drift`."""
    before, after = _by_source(old), _by_source(new)
    names = sorted(before.keys() | after.keys())
    compared = {
        name: compare_photos(before[name], after[name])
        for name in names
        if min(len(before.get(name, ())), len(after.get(name, ()))) >= _SMALLEST
    }
    adjusted = adjust(
        {(name, feature): found.p_value for name, features in compared.items() for feature, found in features.items()}
    )
    return [
        _source(name, before.get(name, ()), after.get(name, ()), compared.get(name, {}), adjusted) for name in names
    ]


def compare_photos(old: Sequence[SampledPhoto], new: Sequence[SampledPhoto]) -> dict[str, Comparison]:
    """Compares photos of two periods by feature. A feature that no photo of a period has is left out."""
    scores = [[photo.score for photo in photos if photo.score is not None] for photos in (old, new)]
    retakes = [
        [photo.outcome is Outcome.RETAKE for photo in photos if photo.outcome is not None] for photos in (old, new)
    ]
    compared = {"score": compare_scores(*scores)} if all(scores) else {}
    if all(retakes):
        compared["retakes"] = compare_categories(*retakes)
    compared["findings"] = compare_categories(*([photo.finding for photo in photos] for photos in (old, new)))
    compared["formats"] = compare_categories(*([photo.media_type for photo in photos] for photos in (old, new)))
    return compared


def _source(
    name: str,
    old: Sequence[SampledPhoto],
    new: Sequence[SampledPhoto],
    compared: dict[str, Comparison],
    adjusted: dict[tuple[str, str], float],
) -> dict[str, Any]:
    features = [
        {
            "feature": feature,
            "psi": found.psi,
            "p_value": found.p_value,
            "adjusted_p_value": adjusted[name, feature],
            "drifted": adjusted[name, feature] <= FALSE_ALARM_RATE,
        }
        for feature, found in compared.items()
    ]
    drifted = any(each["drifted"] for each in features) if features else None
    return {
        "source": name,
        "n_reference": len(old),
        "n_current": len(new),
        "drifted": drifted,
        "features": features,
        "review": [str(photo.message_id) for photo in new[:_TO_REVIEW]] if drifted else [],
    }


def _by_source(photos: Iterable[SampledPhoto]) -> dict[str, list[SampledPhoto]]:
    found: dict[str, list[SampledPhoto]] = {}
    for photo in photos:
        found.setdefault(photo.source, []).append(photo)
    return found


def _unknown(
    reason: str, model: RegisteredModel | UnreadableModel | None = None, promoted: datetime | None = None
) -> dict[str, Any]:
    return _document(model, promoted) | {"status": "unknown", "reason": reason, "current": None, "sources": []}


def _document(model: RegisteredModel | UnreadableModel | None, promoted: datetime | None) -> dict[str, Any]:
    return {
        "status": None,
        "reason": None,
        "model": model.label if model else None,
        "promoted_at": promoted.isoformat() if promoted else None,
        "judged_from": (promoted + _REFERENCE + _WINDOW).isoformat() if promoted else None,
        "reference": {"since": promoted.isoformat(), "until": (promoted + _REFERENCE).isoformat()}
        if promoted
        else None,
        "current": None,
        "false_alarm_rate": FALSE_ALARM_RATE,
        "sources": [],
    }
