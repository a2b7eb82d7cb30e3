"""One training of the real VGG16; the unit tests train a narrow network."""

from pathlib import Path

import pytest
import torch

from tests.support.small_training import train_small
from triage.dataset.manifest import Manifest
from triage.domain.card import read_card
from triage.model.artifact import check_model, write_artifact

pytestmark = pytest.mark.long

CPU = torch.device("cpu")


def test_card_states_data_settings_and_evaluation_of_vgg16(manifest: Manifest, tmp_path: Path) -> None:
    trained, reports = train_small(manifest, tmp_path / "run", "random", seed=5)

    card = trained.card
    assert [(r.photos, r.of_photos) for r in reports if r.stage == "reading photos"] == [(n, 7) for n in range(1, 8)]
    assert [r.done for r in reports if r.stage == "training"] == [1.0, 1.0, 1.0]  # batch, validation, epoch
    assert reports[-1].stage == "evaluating"
    assert trained.unreadable == 1
    assert card.architecture == "vgg16-five-patch"
    data = dict(card.data_summary)
    assert {name: split["n"] for name, split in data.pop("splits").items()} == {"train": 2, "validation": 2, "test": 2}
    assert data == {
        "photos": {"train": 2, "validation": 2, "test": 2},
        "votes": {"train": [1, 0, 0, 0, 1], "validation": [1, 0, 0, 0, 1], "test": [0, 1, 0, 1, 0]},
        "unreadable": 1,
        "manifest_sha256": "",
        "reviewers": None,
        "photo_hashes": 4,
    }
    assert card.training_settings["seed"] == 5
    assert card.training_settings["started_from"] == "random"
    assert {name: each["trained_on"] for name, each in card.metrics.items()} == {"train": 2, "validation": 2, "test": 0}
    assert set(card.metrics) == {"train", "validation", "test"}
    test = card.metrics["test"]
    assert (test["n"], test["n_good"], test["threshold"], test["rank_violations"]) == (2, 1, card.threshold, 0)
    assert set(test["groups"]) == {"source", "fitzpatrick"}
    assert set(test["groups"]["fitzpatrick"]) == {"IV-VI"}
    assert card.recalibration is None or card.recalibration.slope > 0
    assert len(card.learning_curve) == 1
    written = write_artifact(tmp_path / "model", card, trained.weights)
    check_model(written, trained.weights)
    assert read_card(written.model_dump_json()) == written
