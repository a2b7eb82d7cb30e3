"""A card with an evaluation of each cut, and with names from elsewhere."""

from typing import Any, Final

import numpy as np

from tests.support.narrow_model import make_narrow_model
from triage.domain.card import Card
from triage.evaluation.evaluate import evaluate
from triage.evaluation.predictions import Predictions

FOREIGN: Final = "a|b<script>\n# x"


def draw_evaluation() -> dict[str, Any]:
    """Of 120 drawn photos of 60 patients, by source."""
    random = np.random.default_rng(0)
    cumulative = -np.sort(-random.random((120, 4)), axis=1)
    levels = (random.random((120, 1)) < cumulative).astype(float)
    predictions = Predictions(
        cumulative[:, 1],
        levels.sum(axis=1),
        columns={"source": [FOREIGN, "phone"] * 60},
        patients=[f"p-{number // 2}" for number in range(120)],
        cumulative=cumulative,
        levels=levels,
        uncalibrated=cumulative**2,
    )
    return evaluate(predictions, threshold=0.5, by=["source"])


def make_evaluated_card(**fields: Any) -> Card:
    """The card of a narrow model that was evaluated."""
    given = {"metrics": {"test": draw_evaluation()}, "licence_notes": f"for tests {FOREIGN}"}
    return make_narrow_model(**(given | fields))[0]
