"""Model artifacts."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from triage.domain.card import Card
from triage.model.artifact import write_artifact
from triage.model.network import draw_network
from triage.model.weights import weights_of


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that no photo passes: its threshold is one."""
    folder = tmp_path_factory.mktemp("model")
    card = Card(
        name="strict",
        trained=True,
        threshold=1.0,
        threshold_chosen_by="fixture",
        metrics={"fixture": {}},
        created_at=datetime.now(UTC),
    )
    write_artifact(folder, card, weights_of(draw_network(seed=1)))
    return folder
