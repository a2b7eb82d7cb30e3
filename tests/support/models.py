"""A model for tests that deploy one."""

from pathlib import Path

import pytest

from tests.support.cards import EVALUATED
from tests.support.narrow_model import write_narrow_model
from triage.domain.card import Card


def refuse_registered(name: str) -> tuple[Card, bytes]:
    """For what reads registered models, where none is named."""
    raise AssertionError(f"{name} is not registered")


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artifact of a narrow model that no photo passes: its threshold is one."""
    folder = tmp_path_factory.mktemp("model")
    write_narrow_model(folder, name="strict", threshold=1.0, metrics=EVALUATED)
    return folder
