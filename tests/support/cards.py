"""Cards of models whose weights no test loads."""

from datetime import UTC, datetime
from typing import Any, Final

from triage.domain.card import Card

EVALUATED: Final = {"fixture": {"n_good": 20, "n_bad": 20}}
"""The metrics of a model that may be promoted."""


def make_card(name: str, **fields: Any) -> Card:
    """The card of a trained model with a threshold of one half; `fields` replace or add fields."""
    usual = {"trained": True, "threshold": 0.5, "threshold_chosen_by": "fixture", "created_at": datetime.now(UTC)}
    return Card(name=name, **(usual | fields))
