"""Assessments: photos that are checked before they are sent, while somebody waits."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from triage.domain.replies import PhotoReason
from triage.errors import ErrorCode


@dataclass(frozen=True, slots=True)
class LaneLimits:
    """Limits of assessments.

    Attributes:
        patience: after this time the answer is no longer awaited.
        max_waiting: assessments without an answer; further ones are refused at once.
    """

    patience: timedelta = timedelta(seconds=15)
    max_waiting: int = 16


@dataclass(frozen=True, slots=True)
class PhotoAnswer:
    """What a model says about a photo that is checked.

    Attributes:
        model: its label.
        acceptable: at the threshold for a single photo; False if the photo cannot be assessed.
        score: P(votes >= good_votes); None if the photo cannot be assessed.
        reasons: why it fails, the strongest first.
        error_code: why it cannot be assessed.
        is_final: False if it failed for another reason than the photo: it can be tried again.
    """

    model: str
    acceptable: bool
    score: float | None
    reasons: Sequence[PhotoReason]
    error_code: ErrorCode | None
    is_final: bool = True
