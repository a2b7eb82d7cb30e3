"""Measures what a contrastive pretraining brings: a training from random weights, against one from pretrained weights.

python -m recipes.pretraining CLIVE

CLIVE holds LIVE In the Wild: images/, and labels.csv with image, mos, mos_std, votes. Of its training photos, a quarter
keeps its labels. The others are unlabelled: only the pretraining sees them. The test photos are those of the starter
model, which is measured on them as well; it has learned from all labels of the training photos. The network is narrow,
so that a CPU finishes in minutes; --architecture vgg16-five-patch measures the real one on a GPU.
"""

import argparse
import csv
import time
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr

from recipes.starter.photos import SPLIT_SEED, read_photo, split_of_rated
from triage.dataset.manifest import LabelledPhoto, Split
from triage.domain.architecture import architecture_of, layers_of
from triage.model.artifact import read_artifact
from triage.model.network import OrdinalVGG16, draw_network
from triage.model.photo_hashes import read_photo_hashes
from triage.model.starter import STARTER_FOLDER
from triage.model.weights import load_network
from triage.statistics.auc import compare, delong
from triage.statistics.confidence import Interval
from triage.training.config import PretrainingConfig, TrainingConfig
from triage.training.loop import train
from triage.training.passes import logits_of
from triage.training.photos import PhotoSet
from triage.training.pretrain import pretrain

_NARROW: Final = architecture_of(((4,), (8,), (16,), (32,), (32,)))
_LABELLED_SHARE: Final = 0.25
_GOOD_VOTES: Final = 2
_RESAMPLES: Final = 2000

Votes: TypeAlias = NDArray[np.float64]
"""The cumulative probabilities of the test photos, (N, 4)."""


def main() -> None:
    arguments = _parsed()
    device = torch.device(arguments.device)
    torch.set_num_threads(arguments.threads)
    labels, mos = _read_labels(arguments.clive)
    photos = torch.stack([read_photo(label.path) for label in labels])  # (N, 3, 448, 448)
    rows = {split: [row for row, label in enumerate(labels) if label.split is split] for split in Split}
    order = np.random.default_rng(0).permutation(rows[Split.TRAIN])
    n_labelled = round(_LABELLED_SHARE * len(order))
    labelled, unlabelled, test = order[:n_labelled], order[n_labelled:], rows[Split.TEST]
    validation = _photo_set(photos, labels, rows[Split.VALIDATION])
    good = np.array([labels[row].votes >= _GOOD_VOTES for row in test])
    print(
        f"{len(labelled)} labelled, {len(unlabelled)} unlabelled, {len(validation)} validation, {len(test)} test photos"
    )
    settings = TrainingConfig(
        epochs=arguments.epochs, patience=arguments.epochs, frozen_convolutions=0, learning_rate=0.01
    )

    def trained(network: OrdinalVGG16, seed: int) -> Votes:
        config = settings.model_copy(update={"seed": seed})
        train(network, _photo_set(photos, labels, labelled), validation, config, device=device)
        return _predict(network, photos[test].to(device))

    starter = _predict(_starter(labels, rows).to(device), photos[test].to(device))
    _report("starter", starter, good, mos[test])
    for seed in range(arguments.seeds):
        random = trained(draw_network(seed, layers=layers_of(arguments.architecture)), seed)
        _report(f"seed {seed}, random", random, good, mos[test])
        started = time.monotonic()
        network = draw_network(seed, layers=layers_of(arguments.architecture))
        pretrain(
            network,
            photos[unlabelled].numpy(),
            PretrainingConfig(epochs=arguments.pretraining_epochs, seed=seed),
            device=device,
            threads=arguments.threads,
            save=lambda state: print(state.epochs[-1], flush=True),
        )
        print(f"seed {seed}, pretraining in {time.monotonic() - started:.0f} s", flush=True)
        fresh = draw_network(seed, layers=network.layers)
        fresh.features.load_state_dict(network.features.state_dict())
        pretrained = trained(fresh, seed)
        _report(f"seed {seed}, pretrained", pretrained, good, mos[test])
        _report_difference(f"seed {seed}, pretrained minus random", pretrained, random, good, mos[test])
        _report_difference(f"seed {seed}, starter minus pretrained", starter, pretrained, good, mos[test])


def _starter(labels: list[LabelledPhoto], rows: dict[Split, list[int]]) -> OrdinalVGG16:
    """The starter model, if it has seen none of the test photos.

    Its card must state this split, and the hashes of its photos, if its weights have any, must not name a test photo.
    """
    card, weights = read_artifact(STARTER_FOLDER)
    summary = card.data_summary
    if summary.get("split_seed") != SPLIT_SEED or summary.get("photos") != {split: len(rows[split]) for split in Split}:
        raise SystemExit("the card of the starter model states another split: its test photos are unknown")
    learned = read_photo_hashes(weights)
    if learned is not None and any(labels[row].path.read_bytes() in learned for row in rows[Split.TEST]):
        raise SystemExit("the starter model has learned from a test photo")
    return load_network(card, weights)


def _report(name: str, votes: Votes, good: NDArray[np.bool_], mos: NDArray[np.float64]) -> None:
    area = delong(votes[:, _GOOD_VOTES - 1], good)
    srcc = _correlation(votes, mos)
    intervals = _text(area.interval), _text(_quantiles([_correlation(votes[rows], mos[rows]) for rows in _draw(mos)]))
    print(f"{name}: AUC {area.auc:.3f} ({intervals[0]}), SRCC {srcc:.3f} ({intervals[1]})", flush=True)


def _report_difference(
    name: str, votes: Votes, others: Votes, good: NDArray[np.bool_], mos: NDArray[np.float64]
) -> None:
    areas = compare(votes[:, _GOOD_VOTES - 1], others[:, _GOOD_VOTES - 1], good)

    def difference(rows: NDArray[np.int64]) -> float:
        return _correlation(votes[rows], mos[rows]) - _correlation(others[rows], mos[rows])

    srcc = difference(np.arange(len(mos)))
    intervals = _text(areas.interval), _text(_quantiles([difference(rows) for rows in _draw(mos)]))
    print(f"{name}: AUC {areas.difference:+.3f} ({intervals[0]}), SRCC {srcc:+.3f} ({intervals[1]})", flush=True)


def _correlation(votes: Votes, mos: NDArray[np.float64]) -> float:
    """Spearman's correlation of the expected number of votes with the mean opinion scores."""
    return float(spearmanr(votes.sum(axis=1), mos).statistic)


def _draw(mos: NDArray[np.float64]) -> NDArray[np.int64]:
    """The test photos of each bootstrap resample, (2000, N): the same in every call, so that differences are paired."""
    return np.random.default_rng(0).integers(0, len(mos), (_RESAMPLES, len(mos)))


def _quantiles(values: list[float]) -> Interval:
    low, high = np.quantile(values, [0.025, 0.975]).tolist()
    return low, high


def _text(interval: Interval | None) -> str:
    return "withheld" if interval is None else f"{interval[0]:.3f} to {interval[1]:.3f}"


def _read_labels(folder: Path) -> tuple[list[LabelledPhoto], NDArray[np.float64]]:
    with (folder / "labels.csv").open(newline="", encoding="utf-8") as file:
        mos = np.array([float(row["mos"]) for row in csv.DictReader(file)])
    return [LabelledPhoto(path, votes, split=split) for path, votes, split in split_of_rated(folder)], mos


def _photo_set(photos: torch.Tensor, labels: list[LabelledPhoto], rows: NDArray[np.int64] | list[int]) -> PhotoSet:
    return PhotoSet(photos[rows], [labels[row] for row in rows])


@torch.inference_mode()
def _predict(network: OrdinalVGG16, photos: torch.Tensor) -> Votes:
    network.eval()
    parts = [logits_of(network, part, in_half=False).sigmoid().mean(dim=1) for part in photos.split(8)]
    return torch.cat(parts).cpu().double().numpy()


def _parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clive", type=Path)
    parser.add_argument("--architecture", default=_NARROW)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=12, help="of the training")
    parser.add_argument("--pretraining-epochs", type=int, default=10)
    return parser.parse_args()


if __name__ == "__main__":
    main()
