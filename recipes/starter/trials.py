"""Tries other ways to train the upper convolutions: about an hour on two cores, 12 GB of memory.

python -m recipes.starter.trials DATA [--trials TRIAL ...]

The first two of five folds of the photos for training and validation are held out in turn. Nothing is written: the
figures are in docs/starter-model.md.
"""

import argparse
import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor
from torch.nn import functional as F

from recipes.starter.ceiling import Floats, measured, mobilenet_statistics, predict, squeezenet_statistics
from recipes.starter.distillation import distil, draw_crops
from recipes.starter.finetuning import (
    FinetuningConfig,
    LowerFeatures,
    SeriesFeatures,
    features_of,
    finetune,
    fit_head,
    lower_convolutions,
    originals_of_series,
    pooled_from,
    scores_from,
    series_features,
)
from recipes.starter.photos import RatedPhotos, degrade_photo, read_photo, read_rated, read_skin
from recipes.starter.teacher import SqueezeNet
from triage.dataset.manifest import Split
from triage.imaging.degradation import Degradation
from triage.model.network import OrdinalVGG16, draw_network
from triage.model.patches import N_PATCHES, five_patches

_FOLDS: Final = 5
_TRIED_FOLDS: Final = 2
_COPIES: Final = 2  # of each rated photo
_CUT: Final = 51  # an opinion score above it is a vote
_SPREAD: Final = 19.5  # the median of the standard deviations of a photo's opinion scores
_TEACHERS: Final = "teachers, four regressions"
_SHORT: Final = FinetuningConfig(
    epochs=7, steps_per_epoch=43, patches_per_photo=2, series_per_step=6, series_per_photo=1
)


@dataclass(frozen=True, slots=True)
class Trial:
    """A way to train.

    Attributes:
        config: None keeps the distilled convolutions and fits only the head.
        teachers_share: of the teachers' predictions in the targets of the rated photos.
    """

    config: FinetuningConfig | None
    teachers_share: float = 0.0


TRIALS: Final[Mapping[str, Trial]] = {
    "head alone, votes alone": Trial(None),
    "votes, ranking": Trial(_SHORT),
    "votes, ranking, the kind of degradation": Trial(replace(_SHORT, kind_weight=0.3)),
    "votes, ranking, copies that the teachers rated": Trial(replace(_SHORT, copies_per_step=12)),
    "these copies, half the weight of the ranking, half of each target from the teachers": Trial(
        replace(_SHORT, copies_per_step=12, series_per_step=4, rank_weight=0.7, anchor_weight=0.1), teachers_share=0.5
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--trials", nargs="+", choices=TRIALS, default=list(TRIALS), metavar="TRIAL")
    arguments = parser.parse_args()
    data, trials = arguments.data, {name: TRIALS[name] for name in arguments.trials}
    torch.manual_seed(0)
    rated = _without_test(read_rated(data / "clive"))
    everything = np.arange(len(rated.photos))
    folds = np.array_split(np.random.default_rng(0).permutation(everything), _FOLDS)[:_TRIED_FOLDS]
    asked = np.concatenate(folds)
    prepared = _prepare(data, rated, np.setdiff1d(everything, asked))
    predicted = {name: np.zeros(len(rated.photos)) for name in (_TEACHERS, *trials)}
    falls: dict[str, list[float]] = {name: [] for name in trials}
    kinds: dict[str, list[float]] = {name: [] for name in trials}
    for fold in folds:
        training = np.setdiff1d(everything, fold)
        ratings = prepared.teachers_ratings(training)
        predicted[_TEACHERS][fold] = ratings[fold]
        for name, trial in trials.items():
            network = prepared.train(trial, training, ratings)
            predicted[name][fold] = scores_from(network, prepared.photos[fold])
            falls[name].append(prepared.share_that_falls(network))
            kinds[name].append(prepared.share_of_kinds_found(network))
            print(f"{name}: trained on {len(training)} photos", flush=True)
    for name, scores in predicted.items():
        auc, auc_interval, srcc, srcc_interval = measured(scores[asked], rated, asked)
        print(f"{name}: AUC {auc:.3f} {auc_interval}, SRCC {srcc:.3f} {srcc_interval}")
        if name in trials:
            found = np.mean(kinds[name])
            print(f"  {np.mean(falls[name]):.2f} of series fall at each step, {found:.2f} of kinds are found")


@dataclass(frozen=True, slots=True)
class _Prepared:
    """What all trials share. N rated photos.

    Attributes:
        network: the distilled network, whose head is not trained.
        photos: (N, 5, 512, 14, 14), the features of the lower convolutions.
        copies: (2 * N, 2, 512, 14, 14), of altered copies, those of one photo in succession.
        statistics: of each teacher's layers, for the photos and then the copies.
        series, held_out_series: the second ones of skin of other patients.
    """

    network: OrdinalVGG16
    rated: RatedPhotos
    photos: NDArray[np.float16]
    copies: NDArray[np.float16]
    statistics: Mapping[str, Floats]
    series: SeriesFeatures
    held_out_series: SeriesFeatures

    def teachers_ratings(self, training: NDArray[np.int64]) -> Floats:
        """The mean opinion scores that all regressions together give the photos and the copies."""
        ratings = np.array(self.rated.mos)[training]
        by_method = predict(self.statistics, self.rated, training, np.arange(len(self.photos) + len(self.copies)))
        both = [values for name, values in by_method.items() if name.endswith("both")]
        return np.asarray(ratings.mean() + ratings.std() * np.mean(both, axis=0))

    def train(self, trial: Trial, training: NDArray[np.int64], ratings: Floats) -> OrdinalVGG16:
        network = copy.deepcopy(self.network)
        teachers = torch.from_numpy(4 * norm.cdf((ratings - _CUT) / _SPREAD)).float()
        of_training = (training[:, None] * _COPIES + np.arange(_COPIES)).ravel()
        share = trial.teachers_share
        features = LowerFeatures(
            self.photos[None, training],
            (1 - share) * self.rated.expected_votes[training] + share * teachers[training],
            self.series,
            self.copies[of_training],
            teachers[len(self.photos) + of_training],
        )
        if trial.config:
            finetune(network, features, trial.config)
        else:
            fit_head(network, features)
        return network

    def share_that_falls(self, network: OrdinalVGG16) -> float:
        scores = [scores_from(network, series) for series in self.held_out_series.patches]  # M of (4,)
        return float((np.diff(scores, axis=1) < 0).all(axis=1).mean())

    def share_of_kinds_found(self, network: OrdinalVGG16) -> float:
        """How often a regression on the last convolutions names the kind of a degradation, among the held-out ones."""
        regression = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000))
        regression.fit(*_degraded(network, self.series))
        return float(regression.score(*_degraded(network, self.held_out_series)))


def _degraded(network: OrdinalVGG16, series: SeriesFeatures) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The pooled responses to the degraded photos of M series, (3 * M, 512), and their kinds, (3 * M,)."""
    patches = series.patches[:, 1:]
    pooled = pooled_from(network, patches.reshape(-1, *patches.shape[2:]))
    return pooled, series.kinds.repeat_interleave(patches.shape[1]).numpy()


def _without_test(rated: RatedPhotos) -> RatedPhotos:
    kept = [index for index, split in enumerate(rated.splits) if split is not Split.TEST]
    return RatedPhotos(
        rated.photos[kept],
        rated.votes[kept],
        rated.expected_votes[kept],
        [rated.mos[index] for index in kept],
        [rated.splits[index] for index in kept],
    )


def _prepare(data: Path, rated: RatedPhotos, seen: NDArray[np.int64]) -> _Prepared:
    """`seen` are the photos that no fold holds out: the others are not used without their votes either."""
    random = np.random.default_rng(0)
    skin, skin_held_out = [torch.stack([read_photo(path) for path in p]) for p in read_skin(data / "pad-ufes-20")]
    network = draw_network(seed=0)
    teacher = SqueezeNet(data / "squeezenet-imagenet" / "squeezenet_v1.0_f32.npz", torch.device("cpu"))
    distil(network, teacher, draw_crops(torch.cat([rated.photos[seen], skin])))
    well_rated = rated.photos[seen][rated.votes[seen] >= 3]
    of_series = series_features(network, originals_of_series(skin, well_rated, _SHORT, random), _SHORT, random)
    altered = torch.stack([_altered(rated.photos[i // _COPIES], random) for i in range(_COPIES * len(rated.photos))])
    statistics = {
        name: np.stack([of(photo) for photo in torch.cat([rated.photos, altered])])
        for name, of in (("SqueezeNet", squeezenet_statistics(data)), ("MobileNetV2", mobilenet_statistics(data)))
    }
    photos = features_of(network, rated.photos)
    copies = np.stack([_two_patches(network, photo, random) for photo in altered])
    held_out_series = series_features(network, skin_held_out, _SHORT, random)
    return _Prepared(network, rated, photos, copies, statistics, of_series, held_out_series)


def _two_patches(network: OrdinalVGG16, photo: Tensor, random: np.random.Generator) -> NDArray[np.float16]:
    return lower_convolutions(network, five_patches(photo[None])[0, random.choice(N_PATCHES, 2, replace=False)])


def _altered(photo: Tensor, random: np.random.Generator) -> Tensor:
    """A photo, uint8 (3, 448, 448), flipped, cropped and degraded, each or not."""
    if random.random() < 0.5:
        photo = photo.flip(2)
    if random.random() < 0.5:
        side = int(448 * random.uniform(0.6, 0.95))
        top, left = random.integers(0, 448 - side + 1, 2)
        window = photo[None, :, top : top + side, left : left + side].float()
        photo = F.interpolate(window, (448, 448), mode="bilinear", antialias=True)[0].round().clamp(0, 255).byte()
    if random.random() < 0.7:
        kind = tuple(Degradation)[random.integers(len(Degradation))]
        photo = degrade_photo(photo, kind, random.uniform(0.03, 0.7), int(random.integers(2**31)))
    return photo


if __name__ == "__main__":
    main()
