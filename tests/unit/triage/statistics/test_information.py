import numpy as np
import pytest

from triage.statistics.information import centred, disagreement, entropy


def test_entropy_is_in_bits() -> None:
    assert entropy(np.array([0.0, 0.5, 1.0, 0.11])) == pytest.approx([0, 1, 0, 0.5], abs=1e-3)


def test_opinions_disagree_by_a_bit_when_they_are_sure_and_opposite() -> None:
    opinions = np.array([[0.0, 1.0], [0.5, 0.5], [0.9, 0.9]])

    assert disagreement(opinions) == pytest.approx([1, 0, 0], abs=1e-12)


def test_score_at_the_threshold_becomes_one_half() -> None:
    moved = centred(np.array([0.2, 0.7, 0.9, 0.0, 1.0]), 0.7)

    assert moved[1] == pytest.approx(0.5)
    assert (np.diff(moved[[3, 0, 1, 2, 4]]) > 0).all()
    assert np.isfinite(centred(np.array([0.5]), 1.0)).all()
