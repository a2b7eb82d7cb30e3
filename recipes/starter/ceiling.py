"""Measures what the teachers know about the ratings, as a ceiling for a student: about ten minutes on two cores.

python -m recipes.starter.ceiling DATA

Ridge and support vector regressions on the means and standard deviations of the layers of SqueezeNet and of
`DATA/mobilenet-v2`, three times five folds over the photos for training and validation, then once on the test photos.
"""

import argparse
import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR
from torch import Tensor

from recipes.starter.photos import RatedPhotos, read_rated
from recipes.starter.teacher import SqueezeNet
from triage.dataset.manifest import Split
from triage.model.patches import five_patches
from triage.statistics.auc import delong

Floats = NDArray[np.float64]

_LAYERS: Final = ("expand3", "expand5", "expand7", "pool8", "expand9")
_REPEATS: Final = 3
_FOLDS: Final = 5
_GOOD_VOTES: Final = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    arguments = parser.parse_args()
    rated = read_rated(arguments.data / "clive")
    features = {
        "SqueezeNet": _features(squeezenet_statistics(arguments.data), rated.photos),
        "MobileNetV2": _features(mobilenet_statistics(arguments.data), rated.photos),
    }
    test = rated.of(Split.TEST).numpy()
    others = np.setdiff1d(np.arange(len(rated.photos)), test)
    repeats = [_cross_validated(features, rated, others, seed) for seed in range(_REPEATS)]
    for name in repeats[0]:
        each = [measured(found[name], rated, others) for found in repeats]
        mean = np.mean([(auc, srcc) for auc, _, srcc, _ in each], axis=0)
        print(f"folds, {name}: AUC {mean[0]:.3f} {each[-1][1]}, SRCC {mean[1]:.3f} {each[-1][3]}")
    for name, predicted in predict(features, rated, others, test).items():
        auc, auc_interval, srcc, srcc_interval = measured(predicted, rated, test)
        print(f"test, {name}: AUC {auc:.3f} {auc_interval}, SRCC {srcc:.3f} {srcc_interval}")


def squeezenet_statistics(data: Path) -> Callable[[Tensor], Floats]:
    """A function from a photo, uint8 (3, 448, 448), to the statistics of five layers, the mean over its patches."""
    teacher = SqueezeNet(data / "squeezenet-imagenet" / "squeezenet_v1.0_f32.npz", torch.device("cpu"))

    def features(photo: Tensor) -> Floats:
        layers = teacher.layers(five_patches(photo[None])[0].float())
        return np.concatenate([_statistics(layers[name]).mean(axis=0) for name in _LAYERS])

    return features


def mobilenet_statistics(data: Path) -> Callable[[Tensor], Floats]:
    """A function from a photo, uint8 (3, 448, 448), to the statistics of 17 layers."""
    specification = importlib.util.spec_from_file_location("mobilenet", data / "mobilenet-v2" / "load.py")
    if specification is None or specification.loader is None:
        raise SystemExit("DATA has no mobilenet-v2/load.py")
    teacher: Any = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(teacher)
    return lambda photo: np.concatenate([_statistics(b)[0] for b in teacher.features(photo[None].float() / 255)])


def _statistics(layer: Tensor) -> Floats:
    """(N, C, H, W) to (N, 2C), as logarithms."""
    found = torch.cat([layer.mean(dim=(2, 3)), layer.std(dim=(2, 3))], dim=1)
    logarithms: Floats = np.log(np.abs(found.double().numpy()) + 0.01)
    return logarithms


@torch.inference_mode()
def _features(of: Callable[[Tensor], Floats], photos: Tensor) -> Floats:
    return np.stack([of(photo) for photo in photos])


def _cross_validated(
    features: Mapping[str, Floats], rated: RatedPhotos, members: NDArray[np.int64], seed: int
) -> dict[str, Floats]:
    folds = np.array_split(np.random.default_rng(seed).permutation(members), _FOLDS)
    predicted: dict[str, Floats] = {}
    for fold in folds:
        for name, values in predict(features, rated, np.setdiff1d(members, fold), fold).items():
            predicted.setdefault(name, np.zeros(len(rated.photos)))[fold] = values
    return {name: values[members] for name, values in predicted.items()}


def predict(
    features: Mapping[str, Floats], rated: RatedPhotos, fitted: NDArray[np.int64], asked: NDArray[np.int64]
) -> dict[str, Floats]:
    ratings = np.array(rated.mos)
    targets = (ratings - ratings[fitted].mean()) / ratings[fitted].std()
    found: dict[str, Floats] = {}
    for method, make in (("ridge", _ridge), ("support vectors", _support_vectors)):
        for name, values in features.items():
            found[f"{method}, {name}"] = make().fit(values[fitted], targets[fitted]).predict(values[asked])
        found[f"{method}, both"] = np.mean([found[f"{method}, {name}"] for name in features], axis=0)
    return found


def _ridge() -> Pipeline:
    return make_pipeline(StandardScaler(), RidgeCV(alphas=np.logspace(2, 6, 9)))


def _support_vectors() -> Pipeline:
    return make_pipeline(StandardScaler(), SVR(C=2, gamma="scale", epsilon=0.1))


def measured(
    predicted: Floats, rated: RatedPhotos, members: NDArray[np.int64]
) -> tuple[float, tuple[float, float], float, tuple[float, float]]:
    """AUC with DeLong's interval, and SRCC with its bootstrap interval."""
    ratings, good = np.array(rated.mos)[members], rated.votes.numpy()[members] >= _GOOD_VOTES
    area, random = delong(predicted, good), np.random.default_rng(0)
    rows = [random.integers(0, len(members), len(members)) for _ in range(1000)]
    low, high = np.quantile([spearmanr(predicted[r], ratings[r]).statistic for r in rows], [0.025, 0.975])
    auc_low, auc_high = area.interval or (np.nan, np.nan)
    srcc = float(spearmanr(predicted, ratings).statistic)
    return area.auc, (round(auc_low, 3), round(auc_high, 3)), srcc, (round(float(low), 3), round(float(high), 3))


if __name__ == "__main__":
    main()
