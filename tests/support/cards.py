"""Cards of models whose weights no test loads."""

from datetime import UTC, datetime
from typing import Any

from triage.domain.card import Card


def make_card(name: str, **fields: Any) -> Card:
    """The card of a trained model with a threshold of one half; `fields` replace or add fields."""
    usual = {"trained": True, "threshold": 0.5, "threshold_chosen_by": "fixture", "created_at": datetime.now(UTC)}
    return Card(name=name, **(usual | fields))
