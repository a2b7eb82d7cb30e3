"""A pretraining of a narrow network on a few photos."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.support.narrow_model import write_narrow_model
from tests.support.small_training import train_small
from triage.dataset.manifest import Manifest
from triage.errors import UsageError
from triage.imaging.decode import Decoder
from triage.model.artifact import write_artifact
from triage.model.weights import load_network
from triage.training.config import PretrainingConfig
from triage.training.pretrain import pretrain_model
from triage.training.progress import Progress
from triage.training.train import TrainedModel

Readers = list[Callable[[], bytes]]


@pytest.fixture
def readers() -> Readers:
    """Four photos, and one that cannot be read."""
    return [*(_png(seed).getvalue for seed in range(4)), lambda: b"no photo"]


@pytest.fixture
def narrow(tmp_path: Path) -> str:
    write_narrow_model(tmp_path / "narrow")
    return str(tmp_path / "narrow")


def test_pretrained_weights_are_no_candidate_and_keep_the_layers(readers: Readers, tmp_path: Path, narrow: str) -> None:
    made, reports = _pretrain(readers, tmp_path / "run", narrow)

    card = made.card
    assert (card.trained, card.is_pretrained) == (False, True)
    assert card.training_settings["pretraining"] == "contrastive"
    assert card.training_settings["started_from"].startswith("model narrow")
    assert card.data_summary == {"photos": 4, "unreadable": 1}
    assert load_network(card, made.weights).architecture == "vgg-4-8-8-8-8-five-patch"
    assert [epoch["number"] for epoch in card.learning_curve] == [1, 2, 3]
    assert {report.stage for report in reports} == {"reading photos", "training"}


def test_training_starts_from_pretrained_weights(
    readers: Readers, manifest: Manifest, tmp_path: Path, narrow: str
) -> None:
    made, _ = _pretrain(readers, tmp_path / "run", narrow)
    write_artifact(tmp_path / "pretrained", made.card, made.weights)

    trained, _ = train_small(manifest, tmp_path / "training", str(tmp_path / "pretrained"))

    assert trained.card.trained
    assert not trained.card.is_pretrained
    assert trained.card.training_settings["started_from"] == f"model pre {made.card.weights_sha256[:12]}"


def test_interrupted_pretraining_gives_the_weights_of_an_uninterrupted_one(
    readers: Readers, tmp_path: Path, narrow: str
) -> None:
    whole, _ = _pretrain(readers, tmp_path / "whole", narrow)

    def interrupt(progress: Progress) -> None:
        if progress.epochs and len(progress.epochs) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _pretrain(readers, tmp_path / "run", narrow, on_progress=interrupt)
    resumed, reports = _pretrain(readers, tmp_path / "run", "/nonexistent/init")

    assert resumed.weights == whole.weights
    assert next(report.epoch for report in reports if report.epoch) in {2, 3}  # the last checkpoint may be incomplete


def test_pretraining_is_refused_when_fewer_than_two_photos_can_be_read(tmp_path: Path, narrow: str) -> None:
    with pytest.raises(UsageError, match="fewer than two photos can be read"):
        _pretrain([_png(0).getvalue, lambda: b"no photo"], tmp_path / "run", narrow)


def _png(seed: int) -> io.BytesIO:
    file = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 60 * (1 + seed), (80, 100, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, "PNG")
    return file


def _pretrain(
    readers: Readers, folder: Path, init: str, *, on_progress: Callable[[Progress], object] = lambda _: None
) -> tuple[TrainedModel, list[Progress]]:
    reports: list[Progress] = []

    def report(progress: Progress) -> None:
        reports.append(progress)
        on_progress(progress)

    def load_registered(_: str) -> tuple[object, bytes]:
        raise AssertionError

    made = pretrain_model(
        readers,
        PretrainingConfig(epochs=3, batch_photos=2),
        name="pre",
        init=init,
        folder=folder,
        device=torch.device("cpu"),
        decoder=Decoder(),
        load_registered=load_registered,  # type: ignore[arg-type]
        on_progress=report,
    )
    return made, reports
