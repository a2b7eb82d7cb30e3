"""How often 95 % intervals of the AUC hold the true one when patients have several photos.

    python -m benchmarks.intervals

Draws studies in which photos of a patient are alike: in the reviewers' eyes, and in the model's score. The true AUC is
that of a very large study.
"""

import argparse
from typing import Final

import numpy as np

from triage.statistics.arrays import Bools, Floats, Ints
from triage.statistics.auc import auc, delong
from triage.statistics.clusters import cluster_intervals

_ALIKE: Final = 0.8
"""The share of the variance that photos of a patient have in common."""

_LARGE: Final = 200_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--patients", type=int, default=80)
    parser.add_argument("--photos", type=int, default=3, help="of each patient")
    arguments = parser.parse_args()
    random = np.random.default_rng(0)
    true = auc(*_draw(random, _LARGE, arguments.photos))
    by_photo = by_patient = 0
    for seed in range(arguments.studies):
        scores, good = _draw(random, arguments.patients, arguments.photos)
        low, high = delong(scores, good).interval or (np.nan, np.nan)
        by_photo += low <= true <= high
        patients = np.repeat(np.arange(arguments.patients), arguments.photos).tolist()
        [interval] = cluster_intervals(_Auc(scores, good), patients, n_resamples=400, seed=seed)
        low, high = interval or (np.nan, np.nan)
        by_patient += low <= true <= high
    print(
        f"{arguments.studies} studies of {arguments.patients} patients with {arguments.photos} photos, AUC {true:.3f}"
    )
    print(f"DeLong's interval holds it in {by_photo / arguments.studies:.1%}")
    print(f"the interval by patient holds it in {by_patient / arguments.studies:.1%}")


class _Auc:
    def __init__(self, scores: Floats, good: Bools) -> None:
        self._scores = scores
        self._good = good

    def __call__(self, rows: Ints) -> list[float]:
        good = self._good[rows]
        return [auc(self._scores[rows], good) if good.any() and not good.all() else np.nan]


def _draw(random: np.random.Generator, patients: int, photos: int) -> tuple[Floats, Bools]:
    """Scores and labels: (patients * photos,) each."""

    def alike() -> Floats:
        shared = np.repeat(random.normal(size=patients), photos)
        own = random.normal(size=patients * photos)
        values: Floats = _ALIKE**0.5 * shared + (1 - _ALIKE) ** 0.5 * own
        return values

    quality = alike()
    scores = quality + alike()
    return scores, quality + 0.3 * random.normal(size=len(quality)) > 0


if __name__ == "__main__":
    main()
