"""A model from a few photos, in one epoch of a narrow network; `tests/system/vgg16` trains the real one."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.support.models import refuse_registered
from tests.support.narrow_model import write_narrow_model
from tests.support.small_training import train_small
from triage.dataset.manifest import Box, LabelledPhoto, Manifest, Split
from triage.errors import UsageError
from triage.imaging.decode import Decoder
from triage.imaging.photo import DecodedPhoto
from triage.model.artifact import write_artifact
from triage.model.engines.torch_exact import TorchEngine
from triage.model.patches import resize_photo
from triage.model.photo_hashes import read_photo_hashes
from triage.model.scorer import Scorer
from triage.model.weights import load_network
from triage.training import describe
from triage.training.config import TrainingConfig
from triage.training.photos import load_photos
from triage.training.train import train_model

CPU = torch.device("cpu")


@pytest.fixture
def narrow(tmp_path: Path) -> str:
    """The start of a training of a narrow network."""
    write_narrow_model(tmp_path / "narrow")
    return str(tmp_path / "narrow")


def test_scorer_gives_the_scores_of_the_evaluation(
    manifest: Manifest, tmp_path: Path, narrow: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pooling and recalibration are applied in scoring as they were in the evaluation."""
    monkeypatch.setattr(describe, "FEWEST_TO_RECALIBRATE", 2)
    trained, _ = train_small(manifest, tmp_path / "run", narrow, pooling="min")
    card = write_artifact(tmp_path / "model", trained.card, trained.weights)
    scorer = Scorer.of(card, TorchEngine(load_network(card, trained.weights)))
    photos = [label for label in manifest.photos if label.split is Split.TEST]

    scores = [
        scorer.score([resize_photo(DecodedPhoto.of(Image.open(label.path).convert("RGB")))])[0].score
        for label in photos
    ]

    test = card.metrics["test"]
    accepted = [score >= card.threshold for score in scores]
    assert [accepted[0], accepted[1]] == [test["tp"] == 1, test["fp"] == 1]
    predicted = [b["predicted"] for b in test["calibration"]["bins"]]
    assert sorted(scores) == pytest.approx(sorted(predicted), abs=1e-5)


@pytest.mark.parametrize("recalibrate", [True, False])
def test_photo_that_sets_the_threshold_passes_it_in_scoring(
    manifest: Manifest, tmp_path: Path, narrow: str, recalibrate: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The threshold lies just below a photo's own score, so the scores of the card must be those of a scorer."""
    monkeypatch.setattr(describe, "FEWEST_TO_RECALIBRATE", 2)
    trained, _ = train_small(
        manifest, tmp_path / "run", narrow, threshold_from="train", recalibrate=recalibrate, batch_photos=3
    )
    scorer = Scorer.of(trained.card, TorchEngine(load_network(trained.card, trained.weights)))
    photos = [label for label in manifest.photos if label.split is Split.TRAIN and label.path.stat().st_size > 100]

    scores = [
        scorer.score([resize_photo(DecodedPhoto.of(Image.open(label.path).convert("RGB")))])[0].score
        for label in photos
    ]

    train = trained.card.metrics["train"]
    accepted = [score >= trained.card.threshold for score in scores]
    assert sum(accepted) == train["tp"] + train["fp"] > 0
    assert min(score for score in scores if score >= trained.card.threshold) - trained.card.threshold < 1e-6


def test_recalibration_is_withheld_when_few_photos_are_there_to_fit_it(
    manifest: Manifest, tmp_path: Path, narrow: str
) -> None:
    trained, _ = train_small(manifest, tmp_path / "run", narrow, threshold_from="train")

    assert trained.card.recalibration is None
    assert trained.card.recalibration_withheld == "fewer than 30 photos to fit it on"


def test_rank_violations_are_counted_when_the_heads_are_independent(
    manifest: Manifest, tmp_path: Path, narrow: str
) -> None:
    trained, _ = train_small(
        manifest, tmp_path / "run", narrow, head="independent", recalibrate=False, threshold_from="train"
    )

    assert trained.card.head == "independent"
    assert trained.card.recalibration is None
    assert trained.card.threshold_chosen_by == "Youden's index on 2 train photos"
    assert isinstance(trained.card.metrics["test"]["rank_violations"], int)


def test_training_is_refused_when_no_photo_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"text")
    manifest = Manifest((LabelledPhoto(tmp_path / "a.jpg", 2, split=Split.TRAIN),), 4)

    with pytest.raises(UsageError, match="no photo of the training split"):
        train_small(manifest, tmp_path / "run", "random")


def test_photo_is_cropped_when_region_of_interest_is_on(tmp_path: Path) -> None:
    pixels = np.zeros((100, 100, 3), dtype=np.uint8)
    pixels[50:, 50:] = 200
    Image.fromarray(pixels).save(tmp_path / "a.png")
    label = LabelledPhoto(tmp_path / "a.png", 2, box=Box(50, 50, 100, 100))

    whole, _ = load_photos([label], tmp_path / "whole", Decoder())
    cropped, _ = load_photos([label], tmp_path / "cropped", Decoder(), region_of_interest=True)

    assert whole.photos.float().mean() == pytest.approx(50, abs=2)
    assert bool((cropped.photos == 200).all())


def test_box_is_clipped_to_the_photo_and_skipped_when_outside(tmp_path: Path) -> None:
    Image.new("RGB", (100, 80), (200, 200, 200)).save(tmp_path / "a.png")
    boxes = [Box(10, 10, 10**9, 10**9), Box(100, 0, 120, 20)]
    labels = [LabelledPhoto(tmp_path / "a.png", 2, box=box) for box in boxes]

    with Decoder() as decoder:
        photos, left_out = load_photos(labels, tmp_path / "photos", decoder, region_of_interest=True)

    assert (len(photos), left_out) == (1, 1)
    assert bool((photos.photos == 200).all())


def test_training_resumes_from_its_checkpoint_when_the_initial_weights_are_gone(
    manifest: Manifest, tmp_path: Path, narrow: str
) -> None:
    first, _ = train_small(manifest, tmp_path / "run", narrow)

    again = train_model(
        manifest,
        TrainingConfig(epochs=1, batch_photos=2),
        name="small",
        init="/nonexistent",
        folder=tmp_path / "run",
        device=CPU,
        decoder=Decoder(),
        load_registered=refuse_registered,
    )

    assert again.weights == first.weights
    assert again.card.architecture == first.card.architecture == "vgg-4-8-8-8-8-five-patch"
    assert again.card.training_settings["started_from"] == first.card.training_settings["started_from"]


def test_model_knows_its_photos_by_their_bytes(manifest: Manifest, tmp_path: Path, narrow: str) -> None:
    double = next(photo for photo in manifest.photos if photo.split is Split.TRAIN)
    copied = next(photo for photo in manifest.photos if photo.split is Split.TEST)
    copied.path.write_bytes(double.path.read_bytes())

    trained, _ = train_small(manifest, tmp_path / "run", narrow)

    found = read_photo_hashes(trained.weights)
    assert found is not None
    known = [photo.split for photo in manifest.photos if photo.path.read_bytes() in found]
    assert known == [Split.TRAIN, Split.TRAIN, Split.VALIDATION, Split.VALIDATION, Split.TEST]  # one cannot be read
    assert trained.card.data_summary["photo_hashes"] == 4
    assert {name: each["trained_on"] for name, each in trained.card.metrics.items()} == {
        "train": 2,
        "validation": 2,
        "test": 1,
    }
