"""What the network computes for photos that fail, and why they fail: collected into a folder, in chunks.

Each photo is taken as it is. A photo that passes is also degraded: by one cause, at strengths around those at which
the score falls below the threshold, and by two. The order interleaves kinds and sources, so that an unfinished
collection is balanced, and a second call continues it.
"""

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from recipes.findings.photos import SCENES_WITH_SKIN, recolour, recompress
from recipes.reasons.degrading import VARIANTS, Random, Variant, cut_off, leave_skin_out, move_away
from recipes.starter.photos import read_skin, split_of_rated
from triage.dataset.manifest import Split
from triage.domain.states import FindingKind
from triage.findings.measures import measure_photo
from triage.findings.rules import load_models
from triage.imaging.decode import Decoder
from triage.imaging.photo import DecodedPhoto
from triage.model.patches import resize_photo
from triage.samples.drawing import SkinTone, draw_skin_photo

SEED: Final = 2026
_CHUNK: Final = 40
_SIDE: Final = 1000
_DECODER: Final = Decoder()

Pass: TypeAlias = Callable[[torch.Tensor, Sequence[int]], tuple[float, NDArray[np.float32]]]
"""From uint8 (3, 448, 448) and the numbers of some patches to the score and their mean statistics (F,)."""

_ALL: Final = (0, 1, 2, 3, 4)
_DIAGONALS: Final = ((0, 3), (1, 2))

_Made: TypeAlias = tuple[Image.Image, Sequence[FindingKind], list[str], list[float], str]
"""A photo, its causes, the names and the strengths of the degradations, and its tone."""

QUALITY: Final = (
    FindingKind.DEFOCUS,
    FindingKind.MOTION,
    FindingKind.TOO_DARK,
    FindingKind.TOO_BRIGHT,
    FindingKind.LOW_RESOLUTION,
    FindingKind.COLOUR_CAST,
)
OF_SCENES: Final = (FindingKind.TOO_CLOSE, FindingKind.NO_SKIN)
CLOSE_UPS: Final = "close-up"
"""The source of close-ups that only `no_skin` is fitted to and tested on."""

OF_SKIN: Final = (FindingKind.TOO_FAR, FindingKind.BADLY_FRAMED, FindingKind.TOO_CLOSE, FindingKind.NO_SKIN)


class Part(StrEnum):
    """The purpose of a photo; all photos of a patient have the same. `TEST`: also unknown to the network."""

    FIT = "fit"
    CALIBRATE = "calibrate"
    TEST = "test"


@dataclass(frozen=True, slots=True)
class Original:
    path: Path
    source: str
    part: Part
    number: int
    votes: int = -1
    shows_skin: bool = True

    @property
    def group(self) -> str:
        """The same for all photos of a patient."""
        return _patient(self.path) if self.source == "pad" else self.path.name


@dataclass(slots=True)
class Sample:
    """A photo without its pixels.

    Attributes:
        causes: why it fails; empty for an unchanged photo.
        variants: names of the degradations.
        side: the longer side in pixels.
    """

    key: str
    source: str
    part: str
    number: int
    votes: int
    causes: list[str] = field(default_factory=list)
    variants: list[str] = field(default_factory=list)
    strengths: list[float] = field(default_factory=list)
    tone: str = ""
    side: int = 0
    score: float = -1.0


def key_of(photo: Original | Sample) -> str:
    """The same for a photo and all samples made of it."""
    return f"{photo.source}-{photo.number}"


def read_originals(data: Path) -> list[Original]:
    """All photos. The test photos are those that the starter model has not seen either."""
    random = np.random.default_rng(SEED)
    originals: list[Original] = []
    well_rated = 0
    for path, votes, split in split_of_rated(data / "clive"):
        part = Part.TEST if split is Split.TEST else Part.CALIBRATE if split is Split.VALIDATION else Part.FIT
        shows_skin = votes < 3 or well_rated in SCENES_WITH_SKIN
        well_rated += votes >= 3
        originals.append(Original(path, "clive", part, len(originals), votes, shows_skin))
    training, test = read_skin(data / "pad-ufes-20")
    patients = sorted({_patient(path) for path in training})
    calibrating = set(random.permutation(patients)[: round(0.14 * len(patients))])
    for path in (*training, *test):
        part = Part.TEST if path in set(test) else Part.CALIBRATE if _patient(path) in calibrating else Part.FIT
        originals.append(Original(path, "pad", part, len(originals)))
    return [originals[index] for index in random.permutation(len(originals))]


def collect(
    originals: Sequence[Original],
    network: Pass,
    threshold: float,
    folder: Path,
    rounds: int,
    looked_at: Collection[str],
) -> None:
    """Adds to the folder what is missing in it; photos that were looked at, by key, are among the first."""
    done = {sample.key: sample for sample in read_samples(folder)}
    collection = _Collection(originals, network, threshold, folder, done)
    collection.add_drawn(Part.TEST, range(700, 704))
    collection.add_drawn(Part.FIT, range(100, 104))
    collection.add_close_ups(range(704, 720))
    for original in originals:
        if key_of(original) in looked_at:
            collection.add_unchanged(original)
    for number in range(rounds):
        for place, original in enumerate(originals):
            if original.source == "pad" and original.part is Part.FIT and number == 0:
                collection.add_recoloured(original)
            collection.add(original, place, number)
    collection.write()


def measure_names() -> list[str]:
    """The names of the measures of each sample, in order."""
    blank = np.zeros((448, 448, 3), np.uint8)
    return sorted(measure_photo(blank, blank, load_models().skin_colour).photo)


def read_samples(folder: Path) -> list[Sample]:
    chunks = sorted(folder.glob("chunk-*.json"))
    return [Sample(**row) for chunk in chunks for row in json.loads(chunk.read_text(encoding="utf-8"))]


class _Collection:
    def __init__(
        self, originals: Sequence[Original], network: Pass, threshold: float, folder: Path, done: dict[str, Sample]
    ) -> None:
        self._originals = originals
        self._network = network
        self._threshold = threshold
        self._folder = folder
        self._done = done
        self._limits: dict[tuple[str, str], float] = {}
        for sample in done.values():
            self._learn(sample)
        self._pending: list[tuple[Sample, dict[str, NDArray[Any]]]] = []

    def add(self, original: Original, place: int, number: int) -> None:
        """One round of a photo: itself, two copies with one flaw, and a third with one or two."""
        key = key_of(original)
        is_fit = original.part is Part.FIT
        if not is_fit or 0 <= original.votes < 3:
            if self.add_unchanged(original) < self._threshold:
                return
        elif f"{key}-original" in self._done and self._done[f"{key}-original"].score < self._threshold:
            return
        others = OF_SKIN if original.source == "pad" else OF_SCENES
        for index in range(2):
            kind = QUALITY[(place + 3 * index + number) % len(QUALITY)]
            self._take(f"{key}-{number}-quality-{index}", original, partial(self._degraded, original, [kind]))
        if (place + number) % 2 == 0:
            kind = others[(place // 2 + number) % len(others)]
            self._take(f"{key}-{number}-other", original, partial(self._degraded, original, [kind]))
        else:
            self._take(f"{key}-{number}-pair", original, partial(self._degraded, original, self._pair(place, number)))

    @staticmethod
    def _pair(place: int, number: int) -> tuple[FindingKind, FindingKind]:
        return _PAIRS[(place // 2 + 7 * number) % len(_PAIRS)]

    def add_drawn(self, part: Part, seeds: range) -> None:
        """Drawn photos of each tone, sharp and degraded."""
        plain = [variant for variant in VARIANTS if variant.is_plain]
        for seed in seeds:
            for tone in SkinTone:
                drawn = Original(Path(), "drawn", part, 1000 * tone + seed)
                image = draw_skin_photo(drawn.number, tone=tone, size=(600, 600))
                for variant in (None, plain[0], plain[1], plain[3], plain[4], plain[5], plain[7]):
                    name = variant.name if variant else "original"
                    self._take(f"drawn-{drawn.number}-{name}", drawn, partial(_drawn, image, variant, tone))

    def add_unchanged(self, original: Original) -> float:
        """A photo as it is. Returns its score."""
        return self._take(f"{key_of(original)}-original", original, partial(_unchanged, self._image(original)))

    def add_recoloured(self, original: Original) -> None:
        """A close-up in a darker tone and otherwise as it is, so that dark skin is not taken for bad light."""
        key = f"{key_of(original)}-recoloured"
        tones = (SkinTone.IV, SkinTone.V, SkinTone.VI)
        self._take(key, original, partial(_recoloured, self._image(original), tones, (0.75, 1.1)))

    def add_close_ups(self, seeds: range) -> None:
        """Sharp skin for `no_skin`: close-ups to fit to as they are; to test on, recoloured and drawn in six tones."""
        for original in self._originals:
            if original.source == "pad" and original.part is Part.FIT:
                close_up = replace(original, source=CLOSE_UPS)
                self._take(key_of(close_up), close_up, partial(_unchanged, self._image(original)))
        for tone in SkinTone:
            for seed in seeds:
                drawn = Original(Path(), "drawn", Part.TEST, 1000 * tone + seed)
                image = draw_skin_photo(drawn.number, tone=tone, size=(600, 600))
                self._take(f"drawn-{drawn.number}-original", drawn, partial(_drawn, image, None, tone))
            for original in self._originals:
                if original.source == "pad" and original.part is Part.TEST:
                    close_up = replace(original, source=CLOSE_UPS)
                    make = partial(_recoloured, self._image(original), (tone,), (0.75, 0.95))
                    self._take(f"{key_of(close_up)}-{tone.name}", close_up, make)

    def _take(self, key: str, original: Original, make: Callable[[Random], _Made]) -> float:
        if key in self._done:
            return self._done[key].score
        random = np.random.default_rng([SEED, *key.encode()])
        image, causes, variants, strengths, tone = make(random)
        sample = Sample(
            key,
            original.source,
            original.part,
            original.number,
            original.votes,
            [str(cause) for cause in causes],
            variants,
            [round(float(strength), 4) for strength in strengths],
            tone,
            max(image.size),
        )
        photo = resize_photo(DecodedPhoto.of(image))
        # half of the photo, at two fifths of the time: for photos to fit to, their number counts more than each one
        patches = _DIAGONALS[random.integers(2)] if original.part is Part.FIT else _ALL
        sample.score, statistics = self._network(photo, patches)
        measures = measure_photo(np.asarray(image), photo.permute(1, 2, 0).numpy(), load_models().skin_colour).photo
        arrays: dict[str, NDArray[Any]] = {
            "statistics": statistics.astype(np.float16),
            "measures": _values(measures),
        }
        self._done[key] = sample
        self._learn(sample)
        self._pending.append((sample, arrays))
        if len(self._pending) >= _CHUNK:
            self.write()
        return sample.score

    def write(self) -> None:
        """Writes the pending samples as one chunk."""
        if not self._pending:
            return
        number = len(list(self._folder.glob("chunk-*.json")))
        arrays = {name: np.stack([row[name] for _, row in self._pending]) for name in self._pending[0][1]}
        np.savez(self._folder / f"chunk-{number:05d}.npz", **arrays)  # type: ignore[arg-type]  # numpy's stub
        text = json.dumps([asdict(sample) for sample, _ in self._pending])
        (self._folder / f"chunk-{number:05d}.json").write_text(text, encoding="utf-8")
        self._pending = []
        print(f"{len(self._done)} photos", flush=True)

    def _image(self, original: Original) -> Image.Image:
        return _DECODER.decode(original.path.read_bytes()).to_image()

    def _degraded(self, original: Original, kinds: Sequence[FindingKind], random: Random) -> _Made:
        image = self._image(original)
        image.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
        tone = ""
        if original.source == "pad" and random.random() < 0.35:
            wanted = SkinTone(int(random.integers(3, 7)))
            image, tone = recolour(image, wanted, random.uniform(0.75, 1.1)), wanted.name
        variants, strengths = [], []
        for kind in kinds:
            name, strength = kind.value, 0.0
            if kind in _NEED_SCENE:
                scene = self._scene(original, random)
                image = _NEED_SCENE[kind](image, scene, random)
            else:
                # the test is with plain degradations alone where there is one cause
                share_plain = 0.5 if original.part is not Part.TEST else 1.0 if len(kinds) == 1 else 0.0
                is_plain = bool(random.random() < share_plain)
                fitting = [variant for variant in VARIANTS if variant.kind is kind and variant.is_plain is is_plain]
                variant = fitting[random.integers(len(fitting))]
                name = variant.name
                if is_plain:
                    strength = random.uniform(0.2, 0.75) if original.part is Part.TEST else random.uniform(0.15, 0.85)
                else:
                    factor = 1.0 if len(kinds) == 1 else 0.75
                    strength = factor * self._limit(name, original.source) * np.exp(random.normal(0, 0.4))
                    strength = float(np.clip(strength, 0.03, 1.0))
                image = variant.change(image, strength, random)
            variants.append(name)
            strengths.append(strength)
        if "jpeg" not in variants and "messenger" not in variants:
            image = recompress(image, random)
        return image, list(kinds), variants, strengths, tone

    def _scene(self, original: Original, random: Random) -> Image.Image:
        scenes = [o for o in self._originals if o.part is original.part and not o.shows_skin]
        return self._image(scenes[random.integers(len(scenes))])

    def _limit(self, variant: str, source: str) -> float:
        return self._limits.get((variant, source), 0.4)

    def _learn(self, sample: Sample) -> None:
        """Moves the strength of a degradation to where two thirds of the photos fail."""
        if len(sample.variants) != 1 or sample.strengths[0] == 0 or sample.score < 0:
            return
        name = (sample.variants[0], sample.source)
        step = 0.96 if sample.score < self._threshold else 1.08
        self._limits[name] = min(0.9, max(0.05, self._limit(*name) * step))


_NEED_SCENE: Final[dict[FindingKind, Callable[[Image.Image, Image.Image, Random], Image.Image]]] = {
    FindingKind.TOO_FAR: move_away,
    FindingKind.BADLY_FRAMED: cut_off,
    FindingKind.NO_SKIN: lambda _, scene, random: leave_skin_out(scene, random),
}
# blur, motion and light come before compression and small size, as in a camera
_PAIRS: Final = tuple((first, second) for index, first in enumerate(QUALITY) for second in QUALITY[index + 1 :])


def _recoloured(image: Image.Image, tones: Sequence[SkinTone], exposures: tuple[float, float], random: Random) -> _Made:
    image.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    tone = tones[int(random.integers(len(tones)))]
    return recompress(recolour(image, tone, random.uniform(*exposures)), random), [], [], [], tone.name


def _drawn(image: Image.Image, variant: Variant | None, tone: SkinTone, random: Random) -> _Made:
    if variant is None:
        return image, [], [], [], tone.name
    strength = random.uniform(0.2, 0.75)
    return variant.change(image, strength, random), [variant.kind], [variant.name], [strength], tone.name


def _unchanged(image: Image.Image, _: Random) -> _Made:
    return image, [], [], [], ""


def _values(measures: object) -> NDArray[np.float32]:
    return np.array([value for _, value in sorted(dict(measures).items())], np.float32)  # type: ignore[call-overload]


def _patient(path: Path) -> str:
    return path.name.split("_")[1]
