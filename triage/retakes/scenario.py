"""A scenario: what a simulation changes of today's thresholds, model and limits."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import timedelta
from typing import Any, ClassVar

from triage.domain.card import Card
from triage.domain.messages import CHECKED
from triage.errors import UsageError
from triage.retakes.policy import RetakePolicy


@dataclass(frozen=True, slots=True)
class Scenario:
    """Changes; None and an empty mapping leave a part as it is.

    Attributes:
        threshold: from which a photo passes, instead of that of its verdict.
        thresholds_by_photo_count: for groups of n photos, instead of those of the model's card. With `threshold` alone,
            the card's do not apply.
        model: use the stored scores of this model, as a shadow or from a rescoring, with its own thresholds.
    """

    __pydantic_config__: ClassVar = CHECKED
    threshold: float | None = None
    thresholds_by_photo_count: Mapping[int, float] = field(default_factory=dict)
    model: str | None = None
    max_requests_per_thread: int | None = None
    cooldown_hours: float | None = None
    uncertain_margin: float | None = None

    def check(self) -> None:
        """
        Raises:
            UsageError: a value is out of range.
        """
        shares = [self.threshold, self.uncertain_margin, *self.thresholds_by_photo_count.values()]
        if not all(share is None or 0 <= share <= 1 for share in shares):
            raise UsageError("thresholds and the margin are from 0 to 1: correct them")
        if not all(0 < count <= 1000 for count in self.thresholds_by_photo_count):
            raise UsageError("numbers of photos are from 1 to 1000: correct them")
        if not (self.max_requests_per_thread is None or 0 <= self.max_requests_per_thread <= 10_000):
            raise UsageError("the limit of requests is from 0 to 10,000: correct it")
        if not (self.cooldown_hours is None or 0 <= self.cooldown_hours <= 876_000):
            raise UsageError("the cooldown is from 0 to 876,000 hours: correct it")

    def policy(self, today: RetakePolicy) -> RetakePolicy:
        """Today's policy with the limits of this scenario."""
        changes: dict[str, Any] = {
            "max_requests_per_thread": self.max_requests_per_thread,
            "cooldown": None if self.cooldown_hours is None else timedelta(hours=self.cooldown_hours),
            "uncertain_margin": self.uncertain_margin,
        }
        return replace(today, **{name: value for name, value in changes.items() if value is not None})

    def changes(self) -> dict[str, Any]:
        """What it changes, as JSON types."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        values["thresholds_by_photo_count"] = {str(n): value for n, value in self.thresholds_by_photo_count.items()}
        return {name: value for name, value in values.items() if value is not None and value != {}}


def settings_of(policy: RetakePolicy, card: Card | None) -> dict[str, Any]:
    """Today's value of all that a scenario can change except the model, as JSON types. Without a card no thresholds."""
    by_count = card.thresholds_by_photo_count if card else {}
    return {
        "threshold": card.threshold if card else None,
        "thresholds_by_photo_count": {str(n): value for n, value in by_count.items()},
        "max_requests_per_thread": policy.max_requests_per_thread,
        "cooldown_hours": policy.cooldown / timedelta(hours=1),
        "uncertain_margin": policy.uncertain_margin,
    }
