"""All available engines against PyTorch in float32: the same verdicts, and logits within the tolerance.

With TEST_PHOTOS set to a folder, its JPEGs are scored too; TEST_PHOTOS_MAX of them, 24 if unset.
"""

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from tests.support.replayed_engine import ReplayedEngine
from triage.domain.card import Card
from triage.imaging.degradation import Degradation, degrade
from triage.imaging.photo import DecodedPhoto
from triage.model.artifact import read_artifact
from triage.model.engines.audited import AuditedEngine
from triage.model.engines.engine import Engine
from triage.model.engines.mnn import MnnEngine
from triage.model.engines.tolerance import Tolerance
from triage.model.engines.torch_cuda import TorchCudaEngine
from triage.model.engines.torch_exact import TorchEngine
from triage.model.network import OrdinalVGG16
from triage.model.patches import resize_photo
from triage.model.starter import STARTER_FOLDER
from triage.model.weights import load_network
from triage.samples.drawing import SkinTone, draw_skin_photo

pytestmark = pytest.mark.long

FOLDER = os.environ.get("TEST_PHOTOS")
MOST = int(os.environ.get("TEST_PHOTOS_MAX", "24"))
ROUNDING = 1e-4

has_card = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA card")

ENGINES: dict[str, Callable[[OrdinalVGG16], Engine]] = {
    "torch, three photos a call": lambda network: TorchEngine(network, photos_per_call=3),
    "mnn": lambda network: AuditedEngine(MnnEngine(network)),
    "cuda": lambda network: AuditedEngine(TorchCudaEngine(network, torch.device("cuda"))),
}
MARKS = {"cuda": [has_card]}


@pytest.fixture(
    scope="module", params=[pytest.param(build, id=name, marks=MARKS.get(name, [])) for name, build in ENGINES.items()]
)
def engine(request: pytest.FixtureRequest) -> Engine:
    card, weights = read_artifact(STARTER_FOLDER)
    built: Engine = request.param(load_network(card, weights))
    return built


@pytest.fixture(scope="module")
def exact() -> TorchEngine:
    card, weights = read_artifact(STARTER_FOLDER)
    return TorchEngine(load_network(card, weights))


@pytest.fixture(scope="module")
def card() -> Card:
    return read_artifact(STARTER_FOLDER)[0]


@pytest.fixture(scope="module")
def drawn() -> Tensor:
    """Sharp and spoiled: scores from one end to the other."""
    photos = [draw_skin_photo(seed, tone=tone, size=(480, 480)) for seed, tone in enumerate((SkinTone.II, SkinTone.VI))]
    spoiled = [degrade(photos[0], kind, 0.6, seed=3) for kind in (Degradation.DEFOCUS, Degradation.DARK)]
    return torch.stack([resize_photo(DecodedPhoto.of(photo)) for photo in photos + spoiled])


@pytest.fixture(scope="module")
def drawn_logits(exact: TorchEngine, drawn: Tensor) -> Tensor:
    return exact.logits(drawn)


def test_verdicts_are_those_of_float32(engine: Engine, card: Card, drawn: Tensor, drawn_logits: Tensor) -> None:
    found = engine.logits(drawn)

    check(found, drawn_logits, engine.tolerance, card)
    allowed = ROUNDING + engine.tolerance.of(found[2:3])
    assert bool(((engine.logits(drawn[2:3]) - found[2:3]).abs() <= allowed).all())


@pytest.mark.skipif(FOLDER is None, reason="TEST_PHOTOS is not set")
def test_verdicts_are_those_of_float32_on_real_photos(engine: Engine, exact: TorchEngine, card: Card) -> None:
    assert FOLDER is not None
    files = sorted(Path(FOLDER).rglob("*.jpg"))
    found, expected = [], []
    for file in random.Random(0).sample(files, min(MOST, len(files))):
        with Image.open(file) as image:
            photo = resize_photo(DecodedPhoto.of(image.convert("RGB")))[None]
        found.append(engine.logits(photo))
        expected.append(exact.logits(photo))

    check(torch.cat(found), torch.cat(expected), engine.tolerance, card)


def check(found: Tensor, expected: Tensor, tolerance: Tolerance, card: Card) -> None:
    """Thresholds equal to the scores of the photos, and next to them, are the most likely to change a verdict."""
    assert found.dtype == torch.float32
    assert found.shape == expected.shape
    assert bool(((found - expected).abs() <= tolerance.of(found) + ROUNDING).all())
    exact, engine = ReplayedEngine(expected, expected), ReplayedEngine(found, expected, tolerance)
    scores = [photo.score for photo in exact.scores(card)]
    for threshold in {card.threshold, *(score + shift for score in scores for shift in (-ROUNDING, ROUNDING))}:
        changed = card.model_copy(update={"threshold": min(max(threshold, 0.0), 1.0)})
        verdicts = [
            [(photo.score >= changed.threshold, photo.grade) for photo in one.scores(changed)]
            for one in (exact, engine)
        ]
        assert verdicts[0] == verdicts[1]
