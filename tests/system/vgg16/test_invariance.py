"""A photo has the same score in any orientation and format."""

from collections.abc import Callable, Iterator
from functools import cache

import numpy as np
import pytest
from PIL import Image
from torch import Tensor

from tests.support.narrow_model import draw_narrow_network, make_narrow_model
from tests.support.photo_files import STORED, dicom, encode, stored, with_orientation
from triage.domain.card import Card
from triage.imaging.decode import Decoder
from triage.imaging.degradation import Degradation, degrade
from triage.model.artifact import read_artifact
from triage.model.engines.torch_exact import TorchEngine
from triage.model.network import OrdinalVGG16
from triage.model.preparation import prepare_photo
from triage.model.scorer import Scorer
from triage.model.starter import STARTER_FOLDER
from triage.model.weights import load_network
from triage.samples.drawing import SkinTone, draw_skin_photo

pytestmark = pytest.mark.long

TOLERANCE = 0.01
NARROW_TOLERANCE = 0.004  # twice what the encoders change, half of what a wrong orientation changes
# without the encoders' own losses, which change the photo
ENCODERS: dict[str, Callable[[Image.Image, int], bytes]] = {
    "jpeg": lambda image, turn: encode(image, "JPEG", quality=100, subsampling=0, exif=with_orientation(turn)),
    "png": lambda image, turn: encode(image, "PNG", exif=with_orientation(turn)),
    "webp": lambda image, turn: encode(image, "WEBP", lossless=True, exact=True, exif=with_orientation(turn)),
    "heic": lambda image, turn: encode(image, "HEIF", quality=100, chroma=444, exif=with_orientation(turn)),
}
PHOTOS = {
    "sharp": draw_skin_photo(1, tone=SkinTone.II, size=(480, 360)),
    "dark": degrade(draw_skin_photo(2, tone=SkinTone.VI, size=(360, 480)), Degradation.DARK, 0.5, seed=1),
}


@cache
def _encoded(photo: str, name: str) -> list[bytes]:
    """A photo in one format, stored in each orientation."""
    return [ENCODERS[name](stored(PHOTOS[photo], turn), turn) for turn in STORED]


@pytest.fixture(scope="module")
def prepare() -> Iterator[Callable[[bytes], Tensor]]:
    with Decoder() as decoder:
        yield lambda data: prepare_photo(data, decoder).photo


def _score_of(network: OrdinalVGG16, card: Card) -> Callable[[Tensor], float]:
    scorer = Scorer.of(card, TorchEngine(network))
    known: dict[bytes, float] = {}

    def score(photo: Tensor) -> float:
        key = photo.numpy().tobytes()  # equal pixels are scored once
        if key not in known:
            known[key] = scorer.score([photo])[0].score
        return known[key]

    return score


@pytest.fixture(scope="module")
def starter_score() -> Callable[[Tensor], float]:
    card, weights = read_artifact(STARTER_FOLDER)
    return _score_of(load_network(card, weights), card)


@pytest.fixture(scope="module")
def narrow_score() -> Callable[[Tensor], float]:
    network = draw_narrow_network()
    card, _ = make_narrow_model(network)
    return _score_of(network, card)


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("photo", PHOTOS)
def test_score_is_the_same_in_every_orientation_and_format(
    narrow_score: Callable[[Tensor], float], prepare: Callable[[bytes], Tensor], photo: str, name: str
) -> None:
    expected = narrow_score(prepare(encode(PHOTOS[photo], "BMP")))

    scores = [narrow_score(prepare(data)) for data in _encoded(photo, name)]

    assert scores == pytest.approx([expected] * len(STORED), abs=NARROW_TOLERANCE)
    rotated = narrow_score(prepare(encode(PHOTOS[photo].rotate(180), "BMP")))
    assert abs(rotated - expected) > NARROW_TOLERANCE  # a wrong orientation shows


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("photo", PHOTOS)
def test_score_of_the_starter_is_the_same_when_the_pixels_differ_most(
    starter_score: Callable[[Tensor], float], prepare: Callable[[bytes], Tensor], photo: str, name: str
) -> None:
    upright = prepare(encode(PHOTOS[photo], "BMP"))
    photos = [prepare(data) for data in _encoded(photo, name)]

    farthest = max(photos, key=lambda other: float((other.float() - upright.float()).abs().mean()))

    expected = starter_score(upright)
    assert starter_score(farthest) == pytest.approx(expected, abs=TOLERANCE)
    rotated = starter_score(prepare(encode(PHOTOS[photo].rotate(180), "BMP")))
    assert abs(rotated - expected) > 1e-4  # a wrong orientation shows


def test_score_is_the_same_from_dicom(
    starter_score: Callable[[Tensor], float], prepare: Callable[[bytes], Tensor]
) -> None:
    photo = PHOTOS["sharp"]

    score = starter_score(prepare(dicom(np.asarray(photo))))

    assert score == pytest.approx(starter_score(prepare(encode(photo, "BMP"))), abs=1e-6)
