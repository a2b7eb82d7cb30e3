import numpy as np
import pytest

from triage.statistics.confident_learning import find_label_errors


def test_joint_is_the_papers_when_the_probabilities_are_simple() -> None:
    """Five photos of each class, one of them with the other's label, and probabilities that know it."""
    truth = np.array([0] * 5 + [1] * 5)
    given = truth.copy()
    given[0] = 1
    p = np.where(truth == 1, 0.9, 0.1)

    found = find_label_errors(np.stack([1 - p, p], axis=1), given)

    assert found.joint.tolist() == [[4, 0], [1, 5]]  # rows: given labels
    assert (found.rows.tolist(), found.predicted.tolist()) == ([0], [0])
    assert found.margins.tolist() == pytest.approx([0.8])


def test_joint_counts_a_photo_by_class_thresholds_when_probabilities_are_low() -> None:
    """A photo likelier of class 1 than photos of that class counts as one, but its given label is likelier still."""
    given = np.array([0] * 8 + [1] * 4)
    p = np.array([0.1] * 7 + [0.45, 0.4, 0.4, 0.4, 0.4])

    found = find_label_errors(np.stack([1 - p, p], axis=1), given)

    assert found.joint.tolist() == [[7, 1], [0, 4]]
    assert found.rows.tolist() == []


def test_as_many_are_found_as_were_flipped_when_classes_overlap() -> None:
    random = np.random.default_rng(1)
    truth = random.integers(0, 3, 3000)
    logits = 3.0 * np.eye(3)[truth] + random.normal(size=(3000, 3))
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    flipped = random.random(3000) < 0.1
    given = np.where(flipped, (truth + 1) % 3, truth)

    found = find_label_errors(p, given)

    assert len(found.rows) == pytest.approx(300, rel=0.25)
    assert flipped[found.rows].mean() > 0.8
    assert (found.predicted == truth[found.rows]).mean() > 0.8
    assert (np.diff(found.margins) <= 0).all()
    assert len(set(found.rows.tolist())) == len(found.rows)


def test_nothing_is_suspect_when_all_labels_are_likely() -> None:
    given = np.array([0, 0, 1, 1])
    p = np.array([0.1, 0.2, 0.8, 0.9])

    assert len(find_label_errors(np.stack([1 - p, p], axis=1), given).rows) == 0


def test_class_without_photos_is_refused() -> None:
    with pytest.raises(ValueError, match="every class"):
        find_label_errors(np.full((4, 2), 0.5), np.zeros(4, dtype=np.int64))
