"""The measures of all samples, computed in parallel, and the fitted colour of skin that they need."""

import multiprocessing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.linear_model import LogisticRegression

from recipes.findings.photos import (
    Original,
    Part,
    Sample,
    draw_skin,
    read_image,
    recolour,
    relight,
    samples,
)
from triage.domain.states import FindingKind
from triage.findings.light import colour_grid
from triage.findings.measures import Measures, measure_photo
from triage.findings.skin import SkinColour, colour_ratios
from triage.samples.drawing import SkinTone

SMALL = (448, 448)


@dataclass(frozen=True, slots=True)
class Measured:
    """A sample without its pixels."""

    source: str
    part: Part
    number: int
    votes: int | None
    variant: str
    flaw: FindingKind | None
    strength: float
    tone: str
    measures: Measures


def measure_image(image: Image.Image, skin_colour: SkinColour) -> Measures:
    small = np.asarray(image.resize(SMALL, Image.Resampling.BILINEAR))
    return measure_photo(np.asarray(image), small, skin_colour)


def measure_all(originals: Sequence[Original], skin_colour: SkinColour, processes: int) -> list[Measured]:
    """Measures all samples of all originals, and drawn skin of the six tones, whose source is `drawn`."""
    partners = {
        part: [original for original in originals if original.part is part and not original.shows_skin] for part in Part
    }
    work = partial(_measure_original, partners=partners, skin_colour=skin_colour)
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        measured = [row for rows in pool.imap(work, originals, chunksize=8) for row in rows]
    return measured + _measure_drawn(skin_colour)


def fit_skin_colour(originals: Sequence[Original]) -> SkinColour:
    """Fits the colour of skin: skin in all tones and in warm and cold light against scenes, all of the part to fit."""
    random = np.random.default_rng(0)
    skin, other = [], []
    for original in originals:
        if original.part is not Part.FIT or (original.source == "clive" and original.shows_skin):
            continue
        image = read_image(original)
        if original.source == "clive":
            other.append(_ratios(image, random, 150, margin=0))
            continue
        toned = recolour(image, SkinTone(int(random.integers(1, 7))))
        for photo in (image, toned, relight(toned, ("warm", "cold")[random.integers(2)], random)):
            skin.append(_ratios(photo, random, 60, margin=28))
    skin += [_ratios(photo, random, 60, margin=0) for _, photo in draw_skin(range(5), (300, 300))]
    ratios = np.concatenate([*skin, *other])  # (M, 2)
    is_skin = np.repeat([True, False], [sum(map(len, skin)), sum(map(len, other))])
    red, blue = ratios.T
    model = LogisticRegression(C=10.0, class_weight="balanced", max_iter=1000)
    model.fit(np.stack([red, blue, red**2, blue**2, red * blue], axis=1), is_skin)
    return SkinColour((float(model.intercept_[0]), *(float(weight) for weight in model.coef_[0])))


def _measure_original(
    original: Original, partners: Mapping[Part, list[Original]], skin_colour: SkinColour
) -> list[Measured]:
    return [_measured(original, sample, skin_colour) for sample in samples(original, partners[original.part])]


def _measured(original: Original, sample: Sample, skin_colour: SkinColour) -> Measured:
    return Measured(
        original.source,
        original.part,
        original.number,
        original.votes,
        sample.variant,
        sample.flaw,
        sample.strength,
        sample.tone,
        measure_image(sample.image, skin_colour),
    )


def _measure_drawn(skin_colour: SkinColour) -> list[Measured]:
    random = np.random.default_rng(1)
    measured = []
    for part, seeds in ((Part.FIT, range(100, 104)), (Part.CHOOSE, range(200, 204)), (Part.HELD_OUT, range(300, 310))):
        for tone, image in draw_skin(seeds):
            for variant in ("original", "warm", "cold", "dim"):
                photo = image if variant == "original" else relight(image, variant, random)
                measures = measure_image(photo, skin_colour)
                measured.append(Measured("drawn", part, -1, None, variant, None, 0.0, tone.name, measures))
    return measured


def _ratios(image: Image.Image, random: np.random.Generator, count: int, margin: int) -> NDArray[np.float32]:
    grid = colour_grid(np.asarray(image.resize(SMALL, Image.Resampling.BILINEAR)))
    inner = grid[margin : len(grid) - margin, margin : len(grid) - margin].reshape(-1, 3)
    return colour_ratios(inner[random.choice(len(inner), count, replace=False)]).T
