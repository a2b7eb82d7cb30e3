"""Reasons that survive a training, or come from the reviewers of its photos."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.support.narrow_model import add_reasons, draw_narrow_network, make_narrow_model, write_narrow_model
from tests.support.small_training import train_small
from triage.dataset.manifest import LabelledPhoto, Manifest, Split
from triage.domain.states import FindingKind
from triage.evaluation.predict import predict_manifest
from triage.findings.reasons import probabilities_of
from triage.imaging.decode import Decoder
from triage.imaging.limits import ImageLimits
from triage.model.engines.torch_exact import TorchEngine
from triage.model.scorer import Scorer
from triage.model.weights import load_network
from triage.training.photos import load_photos


@pytest.fixture
def dark_and_light(tmp_path: Path) -> Manifest:
    """Sixty photos; the dark ones fail, and their reviewers say so."""
    random = np.random.default_rng(0)
    photos = []
    for index in range(60):
        is_dark = index % 2 == 1
        pixels = random.integers(0, 40 if is_dark else 256, (80, 100, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{index}.png")
        split = Split.TRAIN if index < 30 else Split.VALIDATION if index < 44 else Split.TEST
        reasons = {FindingKind.TOO_DARK: 1.0 if is_dark else 0.0}
        photos.append(LabelledPhoto(tmp_path / f"{index}.png", 0 if is_dark else 4, split=split, reasons=reasons))
    return Manifest(tuple(photos), 4)


def test_reasons_are_learned_when_the_manifest_has_them(dark_and_light: Manifest, tmp_path: Path) -> None:
    write_narrow_model(tmp_path / "narrow")

    trained, _ = train_small(dark_and_light, tmp_path / "run", str(tmp_path / "narrow"))

    assert trained.card.reasons is not None
    assert list(trained.card.reasons.reasons) == [FindingKind.TOO_DARK]
    assert trained.card.training_settings["reasons_from"] == "reviewers: too_dark"
    dark = trained.card.metrics["test"]["reasons"]["by_reason"]["too_dark"]
    assert (dark["n"], dark["n_with"], dark["f1"], dark["kappa"]) == (16, 8, 1.0, 1.0)


def test_evaluation_of_a_manifest_has_the_reasons_of_the_card(dark_and_light: Manifest, tmp_path: Path) -> None:
    write_narrow_model(tmp_path / "narrow")
    trained, _ = train_small(dark_and_light, tmp_path / "run", str(tmp_path / "narrow"))
    rows = [f"{p.path.name},{p.votes},{p.split},{p.reasons[FindingKind.TOO_DARK]}" for p in dark_and_light.photos]
    (tmp_path / "m.csv").write_text("\n".join(["path,votes,split,reason_too_dark", *rows]), encoding="utf-8")

    predicted = predict_manifest(
        trained.card,
        trained.weights,
        tmp_path / "m.csv",
        "test",
        load_engine=lambda card, weights: TorchEngine(load_network(card, weights)),
        limits=ImageLimits(),
    )

    assert predicted.reasons == trained.card.metrics["test"]["reasons"]


def test_reasons_of_the_initial_model_are_kept_when_reviewers_gave_none(
    dark_and_light: Manifest, tmp_path: Path
) -> None:
    """The convolutions change, and the probabilities stay near those of the model that the training started from."""
    network = draw_narrow_network()
    head = add_reasons(network, FindingKind.DEFOCUS, FindingKind.TOO_FAR)
    write_narrow_model(tmp_path / "narrow", network, name="teacher", reasons=head)
    unasked = replace(dark_and_light, photos=[replace(photo, reasons={}) for photo in dark_and_light.photos])

    trained, _ = train_small(unasked, tmp_path / "run", str(tmp_path / "narrow"), frozen_convolutions=0)

    assert trained.card.reasons is not None
    assert trained.card.training_settings["reasons_from"] == "model teacher: defocus, too_far"
    assert "reasons" not in trained.card.metrics["test"]
    loaded = load_network(trained.card, trained.weights)
    assert loaded.reasons is not None
    assert network.reasons is not None
    assert not torch.equal(loaded.features[-3].weight, network.features[-3].weight)
    unseen = [photo for photo in unasked.photos if photo.split is Split.TEST]
    photos, _ = load_photos(unseen, tmp_path / "test.photos", Decoder())
    [expected, found] = (
        [
            probabilities_of(card.reasons, score, measures)[FindingKind.TOO_FAR]
            for score, measures in zip(
                Scorer.of(card, TorchEngine(model)).score(photos.photos), photos.measures, strict=True
            )
        ]
        for card, model in (
            (make_narrow_model(network, reasons=head)[0], network.eval()),
            (trained.card, loaded),
        )
        if card.reasons
    )
    assert np.std(expected) > 0.01
    assert np.abs(np.subtract(found, expected)).mean() < 0.02


def test_card_says_so_when_there_is_nothing_to_learn_reasons_from(dark_and_light: Manifest, tmp_path: Path) -> None:
    write_narrow_model(tmp_path / "narrow")
    rare = [replace(photo, reasons={FindingKind.MOTION: 0.0}) for photo in dark_and_light.photos]

    trained, _ = train_small(replace(dark_and_light, photos=rare), tmp_path / "run", str(tmp_path / "narrow"))

    assert trained.card.reasons is None
    assert trained.card.training_settings["reasons_from"] == "none: findings are measured"
