"""The decision about a message: pure rules from photos, policy and thread history to an outcome and its reason.

A message is never held back from clinicians; the outcome only determines the next step. A retake is requested only if
no photo of a group passes: a request for any failing photo would reach 43 % of the senders of three good photos. An
unreadable photo does not count as bad quality, since it may be the good one: staff look at it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from triage.domain.messages import AssessedPhoto, ThreadHistory
from triage.domain.states import Outcome, Reason
from triage.replies.catalogue import Catalogue


@dataclass(frozen=True, slots=True)
class RetakePolicy:
    """Limits of retake requests, and their texts.

    Attributes:
        max_requests_per_thread: after this many requests the thread goes to staff.
        cooldown: minimum time between two requests of a thread.
        uncertain_margin: a best score at most this far below the threshold is `uncertain`, not `retake`.
        catalogue: the texts of replies; None for those that ship with the product.
    """

    max_requests_per_thread: int = 2
    cooldown: timedelta = timedelta(hours=24)
    uncertain_margin: float = 0.0
    catalogue: Catalogue | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """The outcome of a message and its reason."""

    outcome: Outcome
    reason: Reason


_SEVERITY = {Outcome.PASS: 0, Outcome.NOT_ASSESSABLE: 1, Outcome.UNCERTAIN: 2, Outcome.RETAKE: 3}


def decide_by_quality(photos: Sequence[AssessedPhoto], policy: RetakePolicy) -> Decision:
    """Decides by photo quality only: each group by its best photo, the message by its worst group."""
    decisions = [_decide_group(members, policy) for members in _groups(photos)]
    return max(decisions, key=lambda decision: _SEVERITY[decision.outcome])


def photos_to_retake(photos: Sequence[AssessedPhoto], policy: RetakePolicy) -> list[AssessedPhoto]:
    """The photos of the groups of which none passes; all photos if each group passes and a person asks all the same."""
    failing = [
        photo
        for members in _groups(photos)
        if _decide_group(members, policy).outcome is not Outcome.PASS
        for photo in members
    ]
    return failing or list(photos)


def _groups(photos: Sequence[AssessedPhoto]) -> list[list[AssessedPhoto]]:
    groups: dict[str | None, list[AssessedPhoto]] = {}
    for photo in photos:
        groups.setdefault(photo.group, []).append(photo)
    return list(groups.values())


def _decide_group(photos: Sequence[AssessedPhoto], policy: RetakePolicy) -> Decision:
    margins = [
        photo.score - photo.thresholds_by_photo_count.get(len(photos), photo.threshold)
        for photo in photos
        if photo.score is not None
    ]
    if not margins:
        return Decision(Outcome.NOT_ASSESSABLE, Reason.NO_READABLE_PHOTO)
    if max(margins) >= 0:
        return Decision(Outcome.PASS, Reason.PHOTO_PASSED)
    if len(margins) < len(photos):
        return Decision(Outcome.UNCERTAIN, Reason.UNREADABLE_PHOTO)
    if max(margins) >= -policy.uncertain_margin:
        return Decision(Outcome.UNCERTAIN, Reason.NEAR_THRESHOLD)
    return Decision(Outcome.RETAKE, Reason.NO_PHOTO_PASSED)


def limit_requests(
    decision: Decision,
    photos: Sequence[AssessedPhoto],
    history: ThreadHistory,
    policy: RetakePolicy,
    *,
    opted_out: bool,
    now: datetime,
) -> Decision:
    """Turns a retake into `uncertain` if the patient must not be asked again; other decisions are unchanged."""
    if decision.outcome is not Outcome.RETAKE:
        return decision
    if opted_out:
        return Decision(Outcome.UNCERTAIN, Reason.OPTED_OUT)
    if history.requests >= policy.max_requests_per_thread:
        return Decision(Outcome.UNCERTAIN, Reason.REQUEST_LIMIT)
    if history.photos and {photo.sha256 for photo in photos} <= history.photos:
        return Decision(Outcome.UNCERTAIN, Reason.IDENTICAL_RESEND)
    if history.last_request_at is not None and now - history.last_request_at < policy.cooldown:
        return Decision(Outcome.UNCERTAIN, Reason.COOLDOWN)
    return decision
