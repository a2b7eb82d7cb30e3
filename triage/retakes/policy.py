"""The message-level decision: pure rules from photos, policy and a thread's history to an outcome with its reason.

A message is never held back from clinicians; the outcome only says who does what next. A retake is asked for only if no
photo of a group passes: asking when any photo fails would bother 43 % of the senders of three good photos. A photo that
cannot be read is never bad quality: it may be the good one, so staff look.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from triage.domain.messages import AssessedPhoto, ThreadHistory
from triage.domain.states import Outcome, Reason


@dataclass(frozen=True, slots=True)
class RetakePolicy:
    """When a retake may be asked for.

    Attributes:
        max_requests_per_thread: after so many requests staff take over.
        cooldown: no further request within this time after the last.
        uncertain_margin: a best score this close below the threshold goes to staff instead of back to the patient.
    """

    max_requests_per_thread: int = 2
    cooldown: timedelta = timedelta(hours=24)
    uncertain_margin: float = 0.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome of a message and the reason for it."""

    outcome: Outcome
    reason: Reason


def judge_photos(photos: Sequence[AssessedPhoto], policy: RetakePolicy) -> Verdict:
    """The outcome by photo quality alone: each group by its best photo, the message by its worst group."""
    groups: dict[str | None, list[AssessedPhoto]] = {}
    for photo in photos:
        groups.setdefault(photo.group, []).append(photo)
    verdicts = [_judge_group(members, policy) for members in groups.values()]
    return max(verdicts, key=lambda verdict: _SEVERITY[verdict.outcome])


_SEVERITY = {Outcome.PASS: 0, Outcome.NOT_ASSESSABLE: 1, Outcome.UNCERTAIN: 2, Outcome.RETAKE: 3}


def _judge_group(photos: Sequence[AssessedPhoto], policy: RetakePolicy) -> Verdict:
    margins = [
        photo.score - photo.thresholds_by_photo_count.get(len(photos), photo.threshold)
        for photo in photos
        if photo.score is not None
    ]
    if not margins:
        return Verdict(Outcome.NOT_ASSESSABLE, Reason.NO_READABLE_PHOTO)
    if max(margins) >= 0:
        return Verdict(Outcome.PASS, Reason.PHOTO_PASSED)
    if len(margins) < len(photos):
        return Verdict(Outcome.UNCERTAIN, Reason.UNREADABLE_PHOTO)
    if max(margins) >= -policy.uncertain_margin:
        return Verdict(Outcome.UNCERTAIN, Reason.NEAR_THRESHOLD)
    return Verdict(Outcome.RETAKE, Reason.NO_PHOTO_PASSED)


def guard_against_loops(
    verdict: Verdict,
    photos: Sequence[AssessedPhoto],
    history: ThreadHistory,
    policy: RetakePolicy,
    *,
    opted_out: bool,
    now: datetime,
) -> Verdict:
    """Turns a retake into work for staff where asking again would pester the patient; leaves all else as it is."""
    if verdict.outcome is not Outcome.RETAKE:
        return verdict
    if opted_out:
        return Verdict(Outcome.UNCERTAIN, Reason.OPTED_OUT)
    if history.requests >= policy.max_requests_per_thread:
        return Verdict(Outcome.UNCERTAIN, Reason.REQUEST_LIMIT)
    if history.photos and {photo.sha256 for photo in photos} <= history.photos:
        return Verdict(Outcome.UNCERTAIN, Reason.IDENTICAL_RESEND)
    if history.last_request_at is not None and now - history.last_request_at < policy.cooldown:
        return Verdict(Outcome.UNCERTAIN, Reason.COOLDOWN)
    return verdict
