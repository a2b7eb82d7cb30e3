import numpy as np
import pytest

from triage.statistics.k_center import choose_diverse, principal_components


def test_copies_are_left_for_last_when_values_differ_little() -> None:
    random = np.random.default_rng(0)
    originals = random.normal(size=(20, 8))
    x = np.concatenate([originals, originals + 1e-3 * random.normal(size=(20, 8))])
    values = np.concatenate([np.full(20, 0.9), np.full(20, 1.0)])

    rows, distances = choose_diverse(values, x, np.ones(40, dtype=np.bool_), 20)

    assert sorted((rows % 20).tolist()) == list(range(20))
    assert np.isinf(distances[0])


def test_outlier_is_not_preferred_when_its_value_is_lower() -> None:
    x = np.random.default_rng(0).normal(size=(50, 3))
    x[0] = 100
    values = np.ones(50)
    values[0] = 0.9

    rows, _ = choose_diverse(values, x, np.ones(50, dtype=np.bool_), 10)

    assert 0 not in rows


def test_known_photos_are_kept_away_from() -> None:
    x = np.array([[0.0], [0.1], [5.0], [6.0], [7.0]])

    rows, _ = choose_diverse(np.ones(5), x, np.array([False, True, True, True, True]), 4)

    assert rows.tolist()[-1] == 1


def test_worthless_photo_is_last_when_it_is_far() -> None:
    x = np.array([[0.0], [1.0], [9.0]])

    rows, _ = choose_diverse(np.array([1.0, 1.0, 0.0]), x, np.array([True, True, True]), 9)

    assert rows.tolist() == [0, 1, 2]


def test_copies_are_all_ranked_when_more_are_asked_for() -> None:
    rows, _ = choose_diverse(np.ones(3), np.ones((3, 2)), np.ones(3, dtype=np.bool_), 3)

    assert sorted(rows.tolist()) == [0, 1, 2]


def test_components_keep_distances_when_there_are_few() -> None:
    x = np.random.default_rng(0).normal(size=(10, 3))
    x = (x - x.mean(axis=0)) / x.std(axis=0)

    points = principal_components(x)

    apart, expected = (np.linalg.norm(each[0] - each[1]) for each in (points, x))
    assert apart == pytest.approx(expected / np.sqrt(3))
