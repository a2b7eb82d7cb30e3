"""The same picture has the same score, however it is stored."""

import pytest

from tests.support.photo_files import encode
from tests.support.rare_files import (
    as_linear,
    as_pq,
    bmp,
    chunk,
    in_adobe_rgb,
    preview_first,
    with_chunks,
)
from triage.imaging.decode import Decoder
from triage.imaging.profiles import ADOBE_RGB, BT709, rgb_profile
from triage.model.artifact import read_artifact
from triage.model.patches import resize_photo
from triage.model.scorer import Scorer
from triage.model.starter import STARTER_FOLDER
from triage.samples.drawing import draw_skin_photo
from worker.inference import load_engine
from worker.settings import Settings

PHOTO = draw_skin_photo(10, size=(450, 600))
BGRA = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)
VARIANTS = {
    "preview first": preview_first(PHOTO),
    "alpha 0": bmp(PHOTO, BGRA),
    "linear profile": encode(as_linear(PHOTO), "PNG", icc_profile=rgb_profile(BT709, 1.0)),
    "Adobe RGB": encode(in_adobe_rgb(PHOTO), "PNG", icc_profile=ADOBE_RGB),
    "PQ in PNG": with_chunks(encode(as_pq(PHOTO), "PNG"), chunk(b"cICP", bytes([9, 16, 0, 1]))),
}


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    card, weights = read_artifact(STARTER_FOLDER)
    return Scorer.of(card, load_engine(Settings(), card, weights))


@pytest.mark.parametrize("name", VARIANTS)
def test_score_is_that_of_the_plain_file(scorer: Scorer, name: str) -> None:
    with Decoder() as decoder:
        photos = [resize_photo(decoder.decode(data)) for data in (encode(PHOTO, "PNG"), VARIANTS[name])]
        plain, variant = scorer.score(photos)

    assert abs(plain.score - variant.score) <= 0.01
