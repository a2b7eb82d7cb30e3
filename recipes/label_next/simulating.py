"""Labelling and wrong labels, simulated on rated photos.

The features are those of the first four blocks: the starter model's training on the votes changed only the fifth, so
they know nothing of the votes. Axes: n photos, 5 patches, f features.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from scipy.special import expit

from recipes.label_next.features import RatedFeatures
from triage.domain.architecture import VGG16_LAYERS
from triage.labelling.suspects import find_errors
from triage.statistics.arrays import Bools, Floats, Ints
from triage.statistics.information import disagreement, entropy
from triage.statistics.k_center import choose_diverse
from triage.statistics.linear_head import LinearHead, fit_linear_head

UNCHANGED: Final = 2 * sum(block[-1] for block in VGG16_LAYERS[:-1])
"""Statistics of the blocks that the votes did not change: the first of each row."""

GOOD_VOTES: Final = 2
START: Final = 50
BATCH: Final = 50
END: Final = 300


@dataclass(frozen=True)
class Data:
    """
    Attributes:
        patches: (n, 5, f).
        features: (n, f), their mean.
        shares: (n,), of four votes.
        good: bool (n,).
    """

    patches: Floats
    features: Floats
    shares: Floats
    good: Bools

    @classmethod
    def of_rated(cls, rated: RatedFeatures, rows: Ints) -> "Data":
        patches = rated.patches[rows, :, :UNCHANGED].astype(np.float64)
        votes = rated.votes[rows]
        return cls(patches, patches.mean(axis=1), votes / 4, votes >= GOOD_VOTES)

    def of(self, rows: Ints) -> "Data":
        """Some of the photos."""
        return Data(self.patches[rows], self.features[rows], self.shares[rows], self.good[rows])


def with_copies(data: Data, *, copies: int, seed: int) -> Data:
    """Adds photos that differ from each photo as two of the same lesion might: by a tenth of the photos' spread."""
    random = np.random.default_rng(seed)
    rows = np.tile(np.arange(len(data.good)), copies)
    noise = 0.1 * data.features.std(axis=0) * random.normal(size=(len(rows), 1, data.features.shape[1]))
    noise[: len(data.good)] = 0
    patches = data.patches[rows] + noise
    return Data(patches, patches.mean(axis=1), data.shares[rows], data.good[rows])


def fit(data: Data, rows: Ints) -> LinearHead:
    """A head on the labels of some photos; its target is the share of yes votes."""
    return fit_linear_head(data.features[rows], data.shares[rows])


@dataclass(frozen=True)
class Step:
    """How many photos have labels, and the scores of the test photos by a head on them."""

    n_labels: int
    scores: Floats


def label(pool: Data, test: Data, rule: "Rule", seed: int) -> list[Step]:
    """Labels photos of the pool round by round, as the rule chooses them by the head of the round before."""
    random = np.random.default_rng(seed)
    labelled = np.zeros(len(pool.good), dtype=np.bool_)
    labelled[random.permutation(len(pool.good))[:START]] = True
    steps = []
    while True:
        rows = np.flatnonzero(labelled)
        head = fit(pool, rows)
        steps.append(Step(len(rows), expit(head.logits(test.patches)).mean(axis=1)))
        if len(rows) >= END:
            return steps
        labelled[rule(pool, labelled, head, random)] = True


Rule: TypeAlias = Callable[[Data, Bools, LinearHead, np.random.Generator], Ints]
"""Chooses the rows of the next batch from the pool, the photos with labels and the head that learned from these."""


def choose_randomly(_: Data, labelled: Bools, __: LinearHead, random: np.random.Generator) -> Ints:
    return random.permutation(np.flatnonzero(~labelled))[:BATCH]


def choose_by(*, patches: bool = False, diverse: bool = True, uncertain: bool = True) -> Rule:
    """The rule of `triage label-next`, or a part of it, or with the patches' disagreement."""

    def choose(pool: Data, labelled: Bools, head: LinearHead, _: np.random.Generator) -> Ints:
        found = expit(head.logits(pool.patches))  # (n, 5)
        scores = found.mean(axis=1)
        values = entropy(scores) if uncertain else np.ones(len(scores))  # half of the votes: the threshold is one half
        if patches:
            values = values + disagreement(found)
        if diverse:
            return choose_diverse(values, pool.features, ~labelled, BATCH)[0]
        return np.argsort(-np.where(labelled, -1, values), kind="stable")[:BATCH]

    return choose


@dataclass(frozen=True)
class Found:
    """What is found of flipped labels.

    Attributes:
        n_flipped: number of labels that were flipped.
        hits: bool (n_flipped,): whether each of as many photos, the largest margin first, was flipped.
        n_listed: number of labels that `triage dataset suspects` would list, and how many of them were flipped.
        votes: of the flipped photos, and whether they are among the hits.
    """

    n_flipped: int
    hits: Bools
    n_listed: int
    n_listed_flipped: int
    found_by_votes: dict[int, tuple[int, int]]


def flip(data: Data, features: Floats, share: float, seed: int) -> Found:
    """Flips the labels of some photos at random and looks for them."""
    random = np.random.default_rng(seed)
    n = len(data.good)
    flipped = np.zeros(n, dtype=np.bool_)
    flipped[random.permutation(n)[: round(share * n)]] = True
    given = data.good ^ flipped
    p_good, errors = find_errors(features, given, list(range(n)), seed=seed)
    margins = np.where(given, 1 - 2 * p_good, 2 * p_good - 1)
    first = np.argsort(-margins, kind="stable")[: flipped.sum()]
    is_found = np.isin(np.arange(n), first)
    votes = np.round(4 * data.shares).astype(int)
    by_votes = {
        value: (int((flipped & is_found & (votes == value)).sum()), int((flipped & (votes == value)).sum()))
        for value in range(5)
    }
    return Found(int(flipped.sum()), flipped[first], len(errors.rows), int(flipped[errors.rows].sum()), by_votes)
