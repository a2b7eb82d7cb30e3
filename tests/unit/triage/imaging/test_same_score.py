"""The same picture has the same score, however it is stored."""

from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.support.photo_files import dicom, encode
from tests.support.rare_dicom import bare, jpeg_in_dicom, palette_elements, without_segments
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
INDEXED = PHOTO.quantize(256, dither=Image.Dither.NONE)
PALETTE = palette_elements(np.array(INDEXED.getpalette(), np.uint8).reshape(-1, 3), bits=16, packing="low")
VARIANTS = {
    "preview first": preview_first(PHOTO),
    "alpha 0": bmp(PHOTO, BGRA),
    "linear profile": encode(as_linear(PHOTO), "PNG", icc_profile=rgb_profile(BT709, 1.0)),
    "Adobe RGB": encode(in_adobe_rgb(PHOTO), "PNG", icc_profile=ADOBE_RGB),
    "bare DICOM": bare(dicom(np.asarray(PHOTO))),
    "DICOM palette": dicom(np.asarray(INDEXED), photometric="PALETTE COLOR", **PALETTE),
    "DICOM JPEG, labelled RGB": jpeg_in_dicom(PHOTO, without_segments(encode(PHOTO, "JPEG", quality=95), 0xE0)),
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


def test_score_of_a_dark_grey_photo_is_that_of_its_8_bit_twin(scorer: Scorer) -> None:
    """A window is not followed by a stretch, which would hide that the photo is too dark."""
    dark = np.asarray(PHOTO.convert("L")) // 8
    window: dict[str, Any] = {"photometric": "MONOCHROME2", "WindowCenter": 2048, "WindowWidth": 4096}
    deep = dicom(dark.astype(np.uint16) * 16, **window)
    with Decoder() as decoder:
        photos = [resize_photo(decoder.decode(data)) for data in (encode(Image.fromarray(dark), "PNG"), deep)]
        plain, variant = scorer.score(photos)

    assert abs(plain.score - variant.score) <= 0.01
