"""The photos that findings are fitted to and tested on: originals, degraded ones, other tones, other light."""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter
from scipy.signal import fftconvolve

from triage.domain.states import FindingKind
from triage.imaging.decode import Decoder
from triage.imaging.degradation import Degradation, add_glare, degrade, shake, tint
from triage.samples.drawing import TONES, SkinTone, draw_skin_photo

SPLIT_SEED: Final = 2024
GOOD_VOTES: Final = 3
_DECODER: Final = Decoder()

# numbers of the scenes with much skin, in the order of labels.csv, counting those with three votes or more
SCENES_WITH_SKIN: Final = frozenset(
    {1, 30, 34, 86, 95, 102, 108, 123, 154, 168, 188, 214, 220, 227, 281, 286, 312, 372, 404}
)

LIGHTS: Final = {
    "warm": (1.30, 1.0, 0.55),
    "cold": (0.62, 1.0, 1.40),
    "green": (0.72, 1.15, 0.75),
    "magenta": (1.20, 0.70, 1.15),
    "orange": (1.45, 0.95, 0.40),
}


class Part(StrEnum):
    """The purpose of a photo; all photos of a patient have the same."""

    FIT = "fit"
    CHOOSE = "choose"
    HELD_OUT = "held_out"


@dataclass(frozen=True, slots=True)
class Original:
    """An unchanged photo.

    Attributes:
        source: `clive` or `pad`.
        votes: 0..4, of rated scenes.
        number: of the photo, for seeds.
        shows_skin: whether the photo shows skin, or is not known to show none.
    """

    path: Path
    source: str
    part: Part
    number: int
    votes: int | None = None
    shows_skin: bool = True


@dataclass(frozen=True, slots=True)
class Sample:
    """A photo to measure, with at most one known flaw.

    Attributes:
        variant: how the photo was changed, in more detail than `flaw`.
        strength: of the degradation.
        tone: the tone that it was recoloured to, or "".
    """

    image: Image.Image
    variant: str
    flaw: FindingKind | None
    strength: float = 0.0
    tone: str = ""


def read_originals(data: Path) -> list[Original]:
    """Reads all photos: 40 % to fit, 30 % to choose thresholds, 30 % held out; scenes by photo, skin by patient."""
    with (data / "clive" / "labels.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    originals: list[Original] = []
    well_rated = 0
    for row, part in zip(rows, _parts(len(rows), SPLIT_SEED), strict=True):
        votes = int(row["votes"])
        shows_skin = votes < GOOD_VOTES or well_rated in SCENES_WITH_SKIN  # scenes with fewer votes were not inspected
        well_rated += votes >= GOOD_VOTES
        path = data / "clive" / "images" / row["image"]
        originals.append(Original(path, "clive", part, len(originals), votes, shows_skin))
    paths = sorted((data / "pad-ufes-20" / "images").iterdir())
    patients = sorted({path.name.split("_")[1] for path in paths})
    part_of = dict(zip(patients, _parts(len(patients), SPLIT_SEED + 1), strict=True))
    n_scenes = len(originals)
    originals += [
        Original(path, "pad", part_of[path.name.split("_")[1]], n_scenes + index) for index, path in enumerate(paths)
    ]
    return originals


def read_image(original: Original) -> Image.Image:
    return read_path(original.path)


def read_path(path: Path) -> Image.Image:
    return _DECODER.decode(path.read_bytes()).to_image()


def recolour(photo: Image.Image, tone: SkinTone, exposure: float = 1.0) -> Image.Image:
    """Recolours skin: each channel of linear light is scaled so that the median becomes the tone's colour.

    Pigment absorbs a share of the light at each wavelength (Beer-Lambert law), so shadows, texture and moles keep their
    contrast.
    """
    linear = _to_linear(np.asarray(photo, np.float32))
    middle = np.median(linear[linear.shape[0] // 4 : -linear.shape[0] // 4].reshape(-1, 3), axis=0)
    wanted = _to_linear(np.array(TONES[tone], np.float32)) * exposure
    return Image.fromarray(_to_srgb(linear * wanted / (middle + 1e-3)))


def relight(photo: Image.Image, name: str, random: np.random.Generator) -> Image.Image:
    """Simulates warm, cold or dim light, as at home: weaker than a flaw."""
    if name == "dim":
        return degrade(photo, Degradation.DARK, 0.45)
    return tint(photo, float(random.uniform(0.25, 0.45)), LIGHTS[name])


def samples(original: Original, partners: list[Original]) -> Iterator[Sample]:
    """The samples of one original.

    Args:
        partners: scenes of the same part, to paste skin onto.
    """
    random = np.random.default_rng([SPLIT_SEED, original.number])
    image = read_image(original)
    is_skin = original.source == "pad"
    no_skin = None if original.shows_skin else FindingKind.NO_SKIN
    yield Sample(image, "original", no_skin)
    if original.votes is not None and original.votes < GOOD_VOTES:
        return

    def base() -> tuple[Image.Image, str]:
        if is_skin and random.random() < 0.4:
            tone = SkinTone(int(random.integers(3, 7)))
            return recolour(image, tone, random.uniform(0.75, 1.1)), tone.name
        return image, ""

    for variant, flaw in _DEGRADED:
        photo, tone = base()
        degraded, strength = _degrade(photo, variant, random)
        yield Sample(recompress(degraded, random), variant, flaw, strength, tone)
    if is_skin:
        for target in SkinTone:
            toned = recolour(image, target, random.uniform(0.75, 0.95))  # brighter, light skin would be overexposed
            yield Sample(recompress(toned, random), "tone", None, tone=target.name)
            light = ("warm", "cold", "dim")[random.integers(3)]
            yield Sample(recompress(relight(toned, light, random), random), light, None, tone=target.name)
        for _ in range(2):
            photo, tone = base()
            scene = read_image(partners[random.integers(len(partners))])
            framed, share = paste(photo, scene, random)
            yield Sample(recompress(framed, random), "pasted", FindingKind.BADLY_FRAMED, share, tone)


def paste(skin: Image.Image, scene: Image.Image, random: np.random.Generator) -> tuple[Image.Image, float]:
    """Simulates skin that is far away or cut off: pastes an ellipse of a close-up onto a scene.

    Returns:
        The photo, and the size of the ellipse as a share of the sides.
    """
    width, height = scene.size
    share = float(random.uniform(0.12, 0.38))
    w, h = (round(share * side * random.uniform(0.8, 1.25)) for side in scene.size)
    if random.random() < 0.5:
        x, y = (
            round(random.uniform(0.05, 0.95) * side - part / 2) for side, part in zip(scene.size, (w, h), strict=True)
        )
    else:  # cut off
        x, y = round(random.choice([-0.5, width / w - 0.5]) * w), round(random.uniform(0, height - h))
    mask = Image.new("L", (w, h))
    ImageDraw.Draw(mask).ellipse((0, 0, w - 1, h - 1), fill=255)
    mask = mask.filter(ImageFilter.GaussianBlur(1.5))
    framed = scene.copy()
    framed.paste(skin.resize((w, h), Image.Resampling.LANCZOS), (x, y), mask)
    return framed, share


def soften_background(photo: Image.Image, strength: float, random: np.random.Generator) -> Image.Image:
    """Blurs all but a region near the centre."""
    width, height = photo.size
    radius = random.uniform(0.2, 0.35) * min(width, height)
    x, y = (side * random.uniform(0.4, 0.6) for side in photo.size)
    mask = Image.new("L", photo.size)
    ImageDraw.Draw(mask).ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
    mask = mask.filter(ImageFilter.GaussianBlur(0.06 * min(width, height)))
    return Image.composite(photo, degrade(photo, Degradation.DEFOCUS, strength), mask)


def blur_by_lens(photo: Image.Image, strength: float) -> Image.Image:
    """Defocuses with a disk, as a lens does, of the same variance as the Gaussian of `degrade`."""
    radius = 2 * strength * 0.015 * max(photo.size)
    reach = int(np.ceil(radius)) + 1
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disk = (radius + 0.5 - np.hypot(x, y)).clip(0, 1)
    padded = np.pad(np.asarray(photo, np.float32), [(reach, reach), (reach, reach), (0, 0)], mode="symmetric")
    blurred = fftconvolve(padded, (disk / disk.sum())[..., None], mode="valid", axes=(0, 1))
    return Image.fromarray(blurred.clip(0, 255).astype(np.uint8))


def recompress(photo: Image.Image, random: np.random.Generator) -> Image.Image:
    """Compresses as a phone does, so that missing compression does not give a degraded photo away."""
    file = io.BytesIO()
    photo.save(file, "JPEG", quality=int(random.integers(80, 96)))
    with Image.open(file) as image:
        return image.convert("RGB")


def draw_skin(seeds: range, size: tuple[int, int] = (600, 600)) -> Iterator[tuple[SkinTone, Image.Image]]:
    for tone in SkinTone:
        for seed in seeds:
            yield tone, draw_skin_photo(1000 * tone + seed, tone=tone, size=size)


_DEGRADED: Final = (
    ("defocus", FindingKind.DEFOCUS),
    ("lens", FindingKind.DEFOCUS),
    ("defocus_dark", FindingKind.DEFOCUS),
    ("motion", FindingKind.MOTION),
    ("motion", FindingKind.MOTION),
    ("dark", FindingKind.TOO_DARK),
    ("dark_noisy", FindingKind.TOO_DARK),
    ("overexposed", FindingKind.TOO_BRIGHT),
    ("glare", FindingKind.TOO_BRIGHT),
    ("tiny", FindingKind.LOW_RESOLUTION),
    ("enlarged", FindingKind.LOW_RESOLUTION),
    ("cast", FindingKind.COLOUR_CAST),
    ("cast", FindingKind.COLOUR_CAST),
    ("noise", None),
    ("jpeg", None),
    ("soft_background", None),
)


def _degrade(photo: Image.Image, variant: str, random: np.random.Generator) -> tuple[Image.Image, float]:
    seed = int(random.integers(2**31))
    match variant:
        case "defocus":
            strength = random.uniform(0.15, 1)
            return degrade(photo, Degradation.DEFOCUS, strength), strength
        case "lens":
            strength = random.uniform(0.15, 1)
            return blur_by_lens(photo, strength), strength
        case "defocus_dark":
            strength = random.uniform(0.3, 1)
            dim = degrade(degrade(photo, Degradation.DEFOCUS, strength), Degradation.DARK, random.uniform(0.4, 0.7))
            return degrade(dim, Degradation.NOISE, random.uniform(0.02, 0.12), seed), strength
        case "motion":
            strength = random.uniform(0.25, 1)
            return shake(photo, strength, random.uniform(0, np.pi)), strength
        case "dark":
            strength = random.uniform(0.7, 0.97)
            return degrade(photo, Degradation.DARK, strength), strength
        case "dark_noisy":
            strength = random.uniform(0.7, 0.97)
            dim = degrade(photo, Degradation.DARK, strength)
            return degrade(dim, Degradation.NOISE, random.uniform(0.02, 0.12), seed), strength
        case "overexposed":
            strength = random.uniform(0.3, 1)
            return degrade(photo, Degradation.OVEREXPOSED, strength), strength
        case "glare":
            strength = random.uniform(0.3, 1)
            return add_glare(photo, strength, (random.uniform(0.1, 0.9), random.uniform(0.1, 0.9))), strength
        case "tiny":
            side = random.uniform(72, 160)
            factor = side / max(photo.size)
            size = tuple(max(64, round(length * factor)) for length in photo.size)
            return photo.resize((size[0], size[1]), Image.Resampling.LANCZOS), 64 / side
        case "enlarged":
            strength = random.uniform(0.65, 0.93)
            return degrade(photo, Degradation.LOW_RESOLUTION, strength), strength
        case "cast":
            strength = random.uniform(0.5, 1)
            return tint(photo, strength, tuple(LIGHTS.values())[random.integers(len(LIGHTS))]), strength
        case "noise":
            strength = random.uniform(0.05, 0.5)
            return degrade(photo, Degradation.NOISE, strength, seed), strength
        case "jpeg":
            strength = random.uniform(0.1, 0.8)
            return degrade(photo, Degradation.JPEG, strength), strength
        case "soft_background":
            strength = random.uniform(0.3, 1)
            return soften_background(photo, strength, random), strength
    raise AssertionError(variant)


def _parts(n: int, seed: int) -> list[Part]:
    order = np.random.default_rng(seed).permutation(n)
    return [
        Part.FIT if rank < 0.4 * n else Part.CHOOSE if rank < 0.7 * n else Part.HELD_OUT for rank in np.argsort(order)
    ]


def _to_linear(values: NDArray[np.float32]) -> NDArray[np.float32]:
    share = values / 255
    linear: NDArray[np.float32] = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    return linear


def _to_srgb(linear: NDArray[np.float32]) -> NDArray[np.uint8]:
    linear = linear.clip(0, 1)
    share = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    pixels: NDArray[np.uint8] = np.rint(share * 255).astype(np.uint8)
    return pixels
