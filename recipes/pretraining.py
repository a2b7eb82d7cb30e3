"""Measures what a contrastive pretraining brings: a training from random weights, against one from pretrained weights.

python -m recipes.pretraining CLIVE

CLIVE holds LIVE In the Wild: images/, and labels.csv with image, mos, mos_std, votes. Of its training photos, a quarter
keeps its labels. The others are unlabelled: only the pretraining sees them. The test photos are those of the starter
model, whose card holds its figures on them; it has seen all labels of the training photos. The network is narrow, so
that a CPU finishes in minutes; --architecture vgg16-five-patch measures the real one on a GPU.
"""

import argparse
import csv
import time
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr

from recipes.starter.photos import read_photo, split_of_rated
from triage.dataset.manifest import LabelledPhoto, Split
from triage.domain.architecture import architecture_of, layers_of
from triage.model.network import OrdinalVGG16, draw_network
from triage.statistics.auc import compare, delong
from triage.training.config import PretrainingConfig, TrainingConfig
from triage.training.loop import train
from triage.training.passes import logits_of
from triage.training.photos import PhotoSet
from triage.training.pretrain import pretrain

_NARROW: Final = architecture_of(((4,), (8,), (16,), (32,), (32,)))
_LABELLED_SHARE: Final = 0.25
_GOOD_VOTES: Final = 2


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

    for seed in range(arguments.seeds):
        scores: dict[str, NDArray[np.float64]] = {}
        for start in ("random", "pretrained"):
            network, started = draw_network(seed, layers=layers_of(arguments.architecture)), time.monotonic()
            if start == "pretrained":
                config = PretrainingConfig(epochs=arguments.pretraining_epochs, seed=seed)
                pretrain(
                    network,
                    photos[unlabelled].numpy(),
                    config,
                    device=device,
                    threads=arguments.threads,
                    save=lambda state: print(state.epochs[-1], flush=True),
                )
                print(f"seed {seed}, pretraining in {time.monotonic() - started:.0f} s", flush=True)
                fresh = draw_network(seed, layers=network.layers)
                fresh.features.load_state_dict(network.features.state_dict())
                network = fresh
            settings = TrainingConfig(
                epochs=arguments.epochs, patience=arguments.epochs, frozen_convolutions=0, learning_rate=0.01, seed=seed
            )
            train(network, _photo_set(photos, labels, labelled), validation, settings, device=device)
            predicted = _expected_votes(network, photos[test].to(device))
            scores[start] = predicted[:, _GOOD_VOTES - 1]
            area = delong(scores[start], good)
            srcc, low, high = _srcc(predicted.sum(axis=1), mos[test])
            low_auc, high_auc = area.interval or (np.nan, np.nan)
            print(
                f"seed {seed}, {start}: AUC {area.auc:.3f} ({low_auc:.3f} to {high_auc:.3f}), "
                f"SRCC {srcc:.3f} ({low:.3f} to {high:.3f})",
                flush=True,
            )
        difference = compare(scores["pretrained"], scores["random"], good)
        low, high = difference.interval or (np.nan, np.nan)
        print(f"seed {seed}, pretrained minus random: AUC {difference.difference:.3f} ({low:.3f} to {high:.3f})")


def _read_labels(folder: Path) -> tuple[list[LabelledPhoto], NDArray[np.float64]]:
    with (folder / "labels.csv").open(newline="", encoding="utf-8") as file:
        mos = np.array([float(row["mos"]) for row in csv.DictReader(file)])
    return [LabelledPhoto(path, votes, split=split) for path, votes, split in split_of_rated(folder)], mos


def _photo_set(photos: torch.Tensor, labels: list[LabelledPhoto], rows: NDArray[np.int64] | list[int]) -> PhotoSet:
    return PhotoSet(photos[rows], [labels[row] for row in rows])


@torch.inference_mode()
def _expected_votes(network: OrdinalVGG16, photos: torch.Tensor) -> NDArray[np.float64]:
    """The cumulative probabilities, (N, 4)."""
    network.eval()
    parts = [logits_of(network, part, in_half=False).sigmoid().mean(dim=1) for part in photos.split(8)]
    return torch.cat(parts).cpu().double().numpy()


def _srcc(predicted: NDArray[np.float64], mos: NDArray[np.float64]) -> tuple[float, float, float]:
    """Spearman's correlation with its 95 % bootstrap interval over photos."""
    random = np.random.default_rng(0)
    resampled = [random.integers(0, len(mos), len(mos)) for _ in range(2000)]
    values = [spearmanr(predicted[rows], mos[rows]).statistic for rows in resampled]
    return float(spearmanr(predicted, mos).statistic), *np.quantile(values, [0.025, 0.975]).tolist()


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
