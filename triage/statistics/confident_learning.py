"""Labels that are likely wrong: confident learning.

Northcutt, Jiang, Chuang 2021, Confident Learning: Estimating Uncertainty in Dataset Labels,
doi:10.1613/jair.1.12125.

Axes: n photos, m classes.
"""

from dataclasses import dataclass

import numpy as np

from triage.statistics.arrays import Floats, Ints


@dataclass(frozen=True, slots=True, eq=False)
class LabelErrors:
    """
    Attributes:
        joint: float64 (m, m): estimated number of photos by given label (row) and true label (column).
        rows: int64 (k,): photos whose label is likely wrong, the largest margin first.
        predicted: int64 (k,): their likely labels.
        margins: float64 (k,): by how much the probability of the likely label exceeds that of the given one.
    """

    joint: Floats
    rows: Ints
    predicted: Ints
    margins: Floats


def find_label_errors(probabilities: Floats, labels: Ints) -> LabelErrors:
    """Finds labels that are likely wrong, as many as the joint distribution of given and true labels implies.

    The joint comes from confident counts: a photo counts for a class if its probability is at least the mean
    probability of the photos with that label, which corrects for classes whose probabilities are too high or too low.
    Of each pair of classes, the photos with the largest margins are found (the paper's prune by noise rate), but none
    whose given label is the likelier of the two.

    Args:
        probabilities: (n, m), of classifiers that did not see the photo.
        labels: (n,), 0..m - 1, each given to some photo.

    Raises:
        ValueError: a class has no photo.
    """
    n_classes = probabilities.shape[1]
    given = np.bincount(labels, minlength=n_classes)  # (m,)
    if not given.all():
        raise ValueError("every class must have a photo")
    joint = _calibrated(_confident_counts(probabilities, labels), given)
    rows, predicted, margins = [np.empty(0, np.int64)], [np.empty(0, np.int64)], [np.empty(0)]
    for label in range(n_classes):
        members = np.flatnonzero(labels == label)
        for other in set(range(n_classes)) - {label}:
            margin = probabilities[members, other] - probabilities[members, label]
            chosen = np.argsort(-margin, kind="stable")[: round(joint[label, other])]
            chosen = chosen[margin[chosen] > 0]
            rows.append(members[chosen])
            predicted.append(np.full(len(chosen), other))
            margins.append(margin[chosen])
    return _ordered(joint, np.concatenate(rows), np.concatenate(predicted), np.concatenate(margins))


def _confident_counts(probabilities: Floats, labels: Ints) -> Floats:
    """The confident joint: counts of photos by given label and by the likeliest class whose threshold they reach."""
    classes = np.arange(probabilities.shape[1])
    thresholds = np.array([probabilities[labels == label, label].mean() for label in classes])  # (m,)
    reached = np.where(probabilities >= thresholds, probabilities, -np.inf)  # (n, m)
    is_confident = np.isfinite(reached).any(axis=1)  # (n,)
    counts = np.zeros((len(classes), len(classes)))
    np.add.at(counts, (labels[is_confident], reached[is_confident].argmax(axis=1)), 1)
    return counts


def _calibrated(counts: Floats, given: Ints) -> Floats:
    """Scales each row to the number of photos with that label; a row without confident photos has no errors."""
    sums = counts.sum(axis=1)
    filled = np.where((sums == 0)[:, np.newaxis], np.eye(len(given)), counts)
    joint: Floats = filled / filled.sum(axis=1, keepdims=True) * given[:, np.newaxis]
    return joint


def _ordered(joint: Floats, rows: Ints, predicted: Ints, margins: Floats) -> LabelErrors:
    """The largest margin first; of a photo that is in several pairs, the likeliest label."""
    order = np.argsort(-margins, kind="stable")
    _, first = np.unique(rows[order], return_index=True)
    order = order[np.sort(first)]
    return LabelErrors(joint, rows[order], predicted[order], margins[order])
