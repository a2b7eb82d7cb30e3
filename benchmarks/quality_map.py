"""Whether the map of a photo finds the quarter that was blurred, over a folder of photos.

    python -m benchmarks.quality_map FOLDER --photos 40

Each photo is blurred in one quarter, each time another one. The map is right if the contributions fall most there.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageFilter
from rich.progress import track

from triage.domain.card import Card
from triage.imaging.photo import DecodedPhoto
from triage.model.artifact import read_artifact
from triage.model.network import OrdinalVGG16
from triage.model.patches import resize_photo
from triage.model.quality_map import MAP_SIDE, map_quality
from triage.model.starter import STARTER_FOLDER
from triage.model.weights import load_network
from triage.statistics.proportions import Share

_BLUR = 1 / 60
"""Radius, as a share of the long side."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--photos", type=int, default=40)
    parser.add_argument("--model", type=Path, default=STARTER_FOLDER)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    card, weights = read_artifact(arguments.model)
    network = load_network(card, weights)
    files = sorted(arguments.folder.iterdir())[: arguments.photos]
    changes = np.array(
        [change_by_quarter(network, card, file, number % 4) for number, file in enumerate(track(files, "mapping"))]
    )
    right = int((changes.argmin(axis=1) == np.arange(len(files)) % 4).sum())
    low, high = Share(right, len(files)).interval or (0, 1)
    blurred = changes.min(axis=1).mean()
    others = (changes.sum(axis=1) - changes.min(axis=1)).mean() / 3
    print(f"right: {right} of {len(files)} photos (95 % interval {low:.2f} to {high:.2f})")
    print(f"mean change of a cell: {blurred:.3f} in the quarter that fell most, {others:.3f} in the others")


def change_by_quarter(network: OrdinalVGG16, card: Card, file: Path, quarter: int) -> list[float]:
    """The mean change of the squares of each quarter when one quarter is blurred."""
    with Image.open(file) as opened:
        sharp = opened.convert("RGB")
    half_width, half_height = sharp.width // 2, sharp.height // 2
    left, top = quarter % 2 * half_width, quarter // 2 * half_height
    box = (left, top, left + half_width, top + half_height)
    blurred = sharp.copy()
    blurred.paste(sharp.crop(box).filter(ImageFilter.GaussianBlur(max(sharp.size) * _BLUR)), (left, top))
    before, after = (
        map_quality(network, card, resize_photo(DecodedPhoto.of(each))).over_photo() for each in (sharp, blurred)
    )
    half = MAP_SIDE // 2
    return [float((after - before)[i : i + half, j : j + half].mean()) for i in (0, half) for j in (0, half)]


if __name__ == "__main__":
    main()
