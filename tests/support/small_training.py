"""Seven photos with votes, and a training of one epoch on them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.support.models import refuse_registered
from triage.dataset.manifest import LabelledPhoto, Manifest, Split
from triage.imaging.decode import Decoder
from triage.training.config import TrainingConfig
from triage.training.progress import Progress
from triage.training.train import TrainedModel, train_model

CPU = torch.device("cpu")


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    """Sharp photos are good and flat ones are bad; one cannot be read."""
    random = np.random.default_rng(0)
    photos = []
    for index, (votes, split) in enumerate(
        [(4, "train"), (0, "train"), (4, "validation"), (0, "validation"), (3, "test"), (1, "test"), (2, "train")]
    ):
        path = tmp_path / f"{index}.png"
        pixels = random.integers(0, 256 if votes > 1 else 8, (80, 100, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
        photos.append(
            LabelledPhoto(path, votes, split=Split(split), source="phone", fitzpatrick="V", rating=votes * 20)
        )
    photos[-1].path.write_bytes(b"no photo")
    return Manifest(tuple(photos), 4)


def train_small(manifest: Manifest, folder: Path, init: str, **config: object) -> tuple[TrainedModel, list[Progress]]:
    reports: list[Progress] = []
    trained = train_model(
        manifest,
        TrainingConfig.model_validate({"epochs": 1, "batch_photos": 2} | config),
        name="small",
        init=init,
        folder=folder,
        device=CPU,
        decoder=Decoder(),
        load_registered=refuse_registered,
        on_progress=reports.append,
    )
    return trained, reports
