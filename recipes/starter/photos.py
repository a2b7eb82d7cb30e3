"""The photos for the starter model, and those held out for its test."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from PIL import Image
from scipy.stats import norm
from torch import Tensor

from triage.dataset.manifest import Split
from triage.imaging.decode import Decoder
from triage.imaging.degradation import Degradation, degrade
from triage.imaging.photo import DecodedPhoto
from triage.model.patches import resize_photo
from triage.samples.drawing import TONES, SkinTone, draw_skin_photo

SPLIT_SEED: Final = 2024
_DECODER: Final = Decoder()
STRENGTHS: Final = (0.35, 0.65, 0.95)
"""The strengths of a degradation in a series, after the photo itself."""


@dataclass(frozen=True, slots=True)
class RatedPhotos:
    """LIVE In the Wild (Ghadiyaram and Bovik 2016): photos with human ratings.

    Attributes:
        photos: uint8 (N, 3, 448, 448).
        votes: int64 (N,), 0..4.
        expected_votes: float32 (N,), 0..4: the expected number of four raters who accept the photo.
        mos: float64 (N,), mean opinion scores.
        splits: the split of each photo.
    """

    photos: Tensor
    votes: Tensor
    expected_votes: Tensor
    mos: Sequence[float]
    splits: Sequence[Split]

    def of(self, split: Split) -> Tensor:
        """Indices of a split's photos."""
        return torch.tensor([i for i, assigned in enumerate(self.splits) if assigned is split])


def read_rated(folder: Path) -> RatedPhotos:
    """Reads the rated photos: 70 % for training, 10 % for validation and 20 % for the test, stratified by votes."""
    with (folder / "labels.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    mos = np.array([float(row["mos"]) for row in rows])
    deviation = np.array([float(row["mos_std"]) for row in rows])
    votes = np.array([int(row["votes"]) for row in rows])
    return RatedPhotos(
        torch.stack([read_photo(folder / "images" / row["image"]) for row in rows]),
        torch.from_numpy(votes),
        torch.from_numpy(4 * norm.cdf((mos - 51) / deviation)).float(),
        mos.tolist(),
        _stratified(votes),
    )


def split_of_rated(folder: Path) -> list[tuple[Path, int, Split]]:
    """The path, the votes and the split of each rated photo, as `read_rated` splits them."""
    with (folder / "labels.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    votes = np.array([int(row["votes"]) for row in rows])
    paths = [folder / "images" / row["image"] for row in rows]
    return list(zip(paths, votes.tolist(), _stratified(votes), strict=True))


def read_skin(folder: Path) -> tuple[list[Path], list[Path]]:
    """Paths of PAD-UFES-20 (Pacheco et al. 2020): for training, and of 15 % of the patients for the test."""
    paths = sorted((folder / "images").iterdir())
    patients = np.unique([path.name.split("_")[1] for path in paths])
    held_out = set(np.random.default_rng(SPLIT_SEED).permutation(patients)[: round(0.15 * len(patients))])
    test = [path for path in paths if path.name.split("_")[1] in held_out]
    return [path for path in paths if path not in set(test)], test


def read_photo(path: Path) -> Tensor:
    """Reads a photo as the network takes it, uint8 (3, 448, 448)."""
    return resize_photo(_DECODER.decode(path.read_bytes()))


def degrade_photo(photo: Tensor, degradation: Degradation, strength: float, seed: int) -> Tensor:
    """Degrades a photo, uint8 (3, 448, 448)."""
    image = Image.fromarray(photo.permute(1, 2, 0).numpy())
    degraded = degrade(image, degradation, min(1.0, strength), seed)
    return torch.from_numpy(np.array(degraded)).permute(2, 0, 1)  # (448, 448, 3) -> (3, 448, 448)


def series(photo: Tensor, degradation: Degradation, random: np.random.Generator, *, jitter: float = 0.0) -> Tensor:
    """A photo and three degradations of it, of increasing strength: uint8 (4, 3, 448, 448)."""
    seed = int(random.integers(2**31))
    strengths = [strength + jitter * random.uniform(-1, 1) for strength in STRENGTHS]
    return torch.stack([photo, *(degrade_photo(photo, degradation, strength, seed) for strength in strengths)])


def vary_tones(skin: Tensor, random: np.random.Generator) -> Tensor:
    """Changes half of the photos of skin to another tone, so that the model does not take dark skin for bad light.

    The data has few photos of dark skin. Each channel is scaled by the ratio of two drawn tones.
    """
    lightest = np.array(TONES[SkinTone.II], np.float32)
    photos = skin.clone()
    for index in range(len(photos)):
        if random.random() < 0.5:
            tone = np.array(TONES[SkinTone(int(random.integers(3, 7)))], np.float32)
            factor = torch.from_numpy(tone / lightest).view(3, 1, 1)
            photos[index] = (photos[index].float() * factor).byte()
    return photos


def draw_skin(seeds: range) -> dict[SkinTone, Tensor]:
    """Sharp drawn close-ups, the same number for each of six tones: uint8 (N, 3, 448, 448)."""
    return {
        tone: torch.stack(
            [
                resize_photo(DecodedPhoto.of(draw_skin_photo(1000 * tone + seed, tone=tone, size=(600, 600))))
                for seed in seeds
            ]
        )
        for tone in SkinTone
    }


def _stratified(votes: np.ndarray[tuple[int], np.dtype[np.int64]]) -> list[Split]:
    random = np.random.default_rng(SPLIT_SEED)
    splits = [Split.TRAIN] * len(votes)
    for value in np.unique(votes):
        members = random.permutation(np.flatnonzero(votes == value))
        n_test, n_validation = round(0.2 * len(members)), round(0.1 * len(members))
        for rank, index in enumerate(members[: n_test + n_validation]):
            splits[index] = Split.TEST if rank < n_test else Split.VALIDATION
    return splits
