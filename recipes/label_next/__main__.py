"""What `triage label-next` and `triage dataset suspects` achieve on rated photos, by simulation.

python -m recipes.label_next DATA CACHE

DATA holds `clive/`, as for `recipes.starter`. CACHE is a folder for what the network computes for its 821 photos: about
a second a photo on one core. A second call takes a minute. The pool to label are the training and validation photos of
the starter model, the test photos are its test photos. Record 45 says how far the rule was chosen without them.
"""

import argparse
from pathlib import Path
from typing import Final

import numpy as np
import torch

from recipes.label_next.features import read_features
from recipes.label_next.simulating import (
    Data,
    Found,
    Rule,
    Step,
    choose_by,
    choose_randomly,
    flip,
    label,
    with_copies,
)
from triage.dataset.manifest import Split
from triage.statistics.arrays import Bools, Floats, Ints
from triage.statistics.auc import auc
from triage.statistics.clusters import cluster_intervals

SEEDS: Final = 5
PARTS: Final = 20
RULES: Final[dict[str, Rule]] = {
    "random": choose_randomly,
    "label-next": choose_by(),
    "with patches": choose_by(patches=True),
    "without diversity": choose_by(diverse=False),
    "diversity alone": choose_by(uncertain=False),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("cache", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rated = read_features(arguments.data / "clive", arguments.cache)
    pool = Data.of_rated(rated, rated.of(Split.TRAIN, Split.VALIDATION))
    test = Data.of_rated(rated, rated.of(Split.TEST))
    print(f"pool of {len(pool.good)} photos, {pool.good.sum()} good; {len(test.good)} test photos")

    _print_parts(pool)
    _print_learning("AUC on the test photos by number of labels", pool, test, RULES)
    copied = with_copies(pool, copies=3, seed=0)
    few = {name: RULES[name] for name in ("random", "label-next", "without diversity")}
    _print_learning("the same, of a pool with three similar photos of each", copied, test, few)
    everything = Data.of_rated(rated, np.arange(len(rated.votes)))
    _print_flips(
        "10 % of the labels of all photos flipped, features that know no votes", everything, everything.features
    )
    known = rated.patches.mean(axis=1).astype(np.float64)
    _print_flips("the same, all features of a network that was trained on the right labels", everything, known)


def _print_parts(pool: Data) -> None:
    """The comparison that the rule was chosen by: a quarter of the pool is the test."""
    print(f"parts of the pool: mean AUC of {PARTS} random parts, less that of random photos, with its standard error")
    found: dict[str, list[list[float]]] = {name: [] for name in RULES}
    for seed in range(200, 200 + PARTS):
        rows = np.random.default_rng(seed).permutation(len(pool.good))
        held_out, rest = pool.of(rows[: len(rows) // 4]), pool.of(rows[len(rows) // 4 :])
        for name, rule in RULES.items():
            found[name].append([auc(step.scores, held_out.good) for step in label(rest, held_out, rule, seed)])
    random = np.array(found["random"])
    for name, values in found.items():
        gains = np.array(values)[:, 1:] - random[:, 1:]  # (parts, rounds)
        error = gains.mean(axis=1).std(ddof=1) / np.sqrt(PARTS)
        by_round = " ".join(f"{gain:+.4f}" for gain in gains.mean(axis=0))
        print(f"{name:18} {np.mean(values):.3f} {gains.mean():+.4f} ({error:.4f}), by round {by_round}", flush=True)


def _print_learning(title: str, pool: Data, test: Data, rules: dict[str, Rule]) -> None:
    print(f"\n{title}: mean of {SEEDS} seeds; difference to random with the 95 % interval over test photos and seeds")
    found = {name: [label(pool, test, rule, seed) for seed in range(SEEDS)] for name, rule in rules.items()}
    for name, runs in found.items():
        print(f"\n{name}")
        for step in range(len(runs[0])):
            value = np.mean([auc(run[step].scores, test.good) for run in runs])
            n = runs[0][step].n_labels
            low, high = _interval(runs, found["random"], step, test.good, difference=False)
            text = f"{n:4} labels: {value:.3f} ({low:.3f} to {high:.3f})"
            if name != "random" and step:
                each = [
                    auc(run[step].scores, test.good) - auc(other[step].scores, test.good)
                    for run, other in zip(runs, found["random"], strict=True)
                ]
                low, high = _interval(runs, found["random"], step, test.good, difference=True)
                by_seed = " ".join(f"{value:+.3f}" for value in each)
                text += f"; {np.mean(each):+.3f} ({low:+.3f} to {high:+.3f}), by seed {by_seed}"
            print(text)


def _interval(
    runs: list[list[Step]], others: list[list[Step]], step: int, good: Bools, *, difference: bool
) -> tuple[float, float]:
    """Resamples test photos of the AUC, or the difference of AUCs, that is averaged over seeds."""

    def mean_auc(rows: Ints) -> list[float]:
        labels = good[rows]
        if labels.all() or not labels.any():
            return [np.nan]
        values = [auc(run[step].scores[rows], labels) for run in runs]
        if difference:
            values = [v - auc(o[step].scores[rows], labels) for v, o in zip(values, others, strict=True)]
        return [float(np.mean(values))]

    [interval] = cluster_intervals(mean_auc, range(len(good)))
    return interval or (np.nan, np.nan)


def _print_flips(title: str, data: Data, features: Floats) -> None:
    found = [flip(data, features, 0.1, seed) for seed in range(SEEDS)]
    hits = np.concatenate([each.hits for each in found])
    [interval] = cluster_intervals(
        lambda rows: [float(np.mean(np.concatenate([found[row].hits for row in rows])))], range(SEEDS)
    )
    low, high = interval or (np.nan, np.nan)
    by_seed = " ".join(f"{each.hits.mean():.3f}" for each in found)
    print(f"\n{title}")
    print(
        f"of the {found[0].n_flipped} photos with the largest margins, {hits.mean():.3f} were flipped (by seed "
        f"{by_seed}; {low:.3f} to {high:.3f}); by chance {found[0].n_flipped / len(data.good):.3f}"
    )
    listed = sum(each.n_listed for each in found)
    right = sum(each.n_listed_flipped for each in found)
    print(
        f"listed: {listed / SEEDS:.1f} labels, {right / listed:.3f} of them flipped, "
        f"{right / sum(each.n_flipped for each in found):.3f} of the flipped ones"
    )
    print("found among the flipped, by votes: " + ", ".join(_by_votes(found, votes) for votes in range(5)))


def _by_votes(found: list[Found], votes: int) -> str:
    hits, of = (sum(each.found_by_votes[votes][place] for each in found) for place in (0, 1))
    return f"{votes}: {hits / max(1, of):.2f}"


if __name__ == "__main__":
    main()
