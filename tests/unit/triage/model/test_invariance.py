"""A photo has the same score in any orientation and format."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from PIL import Image

from tests.support.photo_files import STORED, dicom, encode, stored, with_orientation
from triage.imaging.decode import Decoder
from triage.model.artifact import read_artifact
from triage.model.engines.torch_exact import TorchEngine
from triage.model.preparation import prepare_photo
from triage.model.scorer import Scorer
from triage.model.starter import STARTER_FOLDER
from triage.model.weights import load_network
from triage.samples.drawing import Degradation, SkinTone, degrade, draw_skin_photo

TOLERANCE = 0.01
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


@pytest.fixture(scope="module")
def score() -> Iterator[Callable[[bytes], float]]:
    card, weights = read_artifact(STARTER_FOLDER)
    scorer = Scorer.of(card, TorchEngine(load_network(card, weights)))
    known: dict[bytes, float] = {}

    def score(data: bytes) -> float:
        photo = prepare_photo(data, decoder).photo
        key = photo.numpy().tobytes()  # equal pixels are scored once
        if key not in known:
            known[key] = scorer.score([photo])[0].score
        return known[key]

    with Decoder() as decoder:
        yield score


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("photo", PHOTOS)
def test_score_is_the_same_in_every_orientation_and_format(
    score: Callable[[bytes], float], photo: str, name: str
) -> None:
    upright = PHOTOS[photo]
    expected = score(encode(upright, "BMP"))

    scores = [score(ENCODERS[name](stored(upright, turn), turn)) for turn in STORED]

    assert scores == pytest.approx([expected] * len(STORED), abs=TOLERANCE)
    # a wrong orientation changes the score
    assert abs(score(encode(upright.rotate(180), "BMP")) - expected) > 1e-4


def test_score_is_the_same_from_dicom(score: Callable[[bytes], float]) -> None:
    photo = PHOTOS["sharp"]

    assert score(dicom(np.asarray(photo))) == pytest.approx(score(encode(photo, "BMP")), abs=1e-6)
