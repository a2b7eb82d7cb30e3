from itertools import combinations

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from triage.statistics.agreement import (
    Level,
    alpha_with_interval,
    kappa_with_interval,
    krippendorff_alpha,
    pairwise_kappa,
    quadratic_kappa,
)
from triage.statistics.arrays import Floats
from triage.statistics.clusters import cluster_intervals

_ = np.nan
KRIPPENDORFF_2011 = np.array(  # example C of Computing Krippendorff's alpha-reliability: 4 observers, 12 units
    [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, _, _, _],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, _, 3],
        [_, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, _],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, _],
    ]
).T


@pytest.mark.parametrize(("level", "published"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_alpha_equals_the_published_worked_example(level: Level, published: float) -> None:
    assert krippendorff_alpha(KRIPPENDORFF_2011, level) == pytest.approx(published, abs=5e-4)


def test_nominal_alpha_equals_its_definition_by_pairs() -> None:
    units = [[value for value in row if not np.isnan(value)] for row in KRIPPENDORFF_2011]
    units = [unit for unit in units if len(unit) > 1]  # the last unit has a single rating and does not count
    values = [value for unit in units for value in unit]
    n = len(values)
    assert (len(units), n) == (11, 40)
    observed = sum(2 * sum(a != b for a, b in combinations(unit, 2)) / (len(unit) - 1) for unit in units) / n
    expected = 2 * sum(a != b for a, b in combinations(values, 2)) / (n * (n - 1))

    assert krippendorff_alpha(KRIPPENDORFF_2011) == pytest.approx(1 - observed / expected)


@pytest.mark.parametrize("level", ["nominal", "ordinal", "interval"])
def test_alpha_is_one_for_agreement_and_near_zero_for_guesses(level: Level) -> None:
    guesses = np.random.default_rng(0).integers(0, 5, (5000, 4)).astype(float)

    assert krippendorff_alpha([[0, 0], [1, 1], [3, 3]], level) == 1
    assert krippendorff_alpha(guesses, level) == pytest.approx(0, abs=0.02)


def test_alpha_is_none_when_nothing_can_be_compared() -> None:
    assert krippendorff_alpha([[1, _], [_, 2]]) is None
    assert krippendorff_alpha([[1, 1], [1, 1]]) is None


def test_kappa_of_each_pair_equals_that_of_scikit_learn_when_ratings_are_missing() -> None:
    random = np.random.default_rng(1)
    truth = random.integers(0, 2, 200)
    ratings = np.where(random.random((200, 3)) < 0.8, truth[:, np.newaxis], random.integers(0, 2, (200, 3))).astype(
        float
    )
    ratings[random.random(ratings.shape) < 0.1] = _

    kappas = pairwise_kappa(ratings)

    assert list(kappas) == [(0, 1), (0, 2), (1, 2)]
    for (a, b), kappa in kappas.items():
        both = ~np.isnan(ratings[:, [a, b]]).any(axis=1)
        assert 100 < both.sum() < 200
        assert kappa == pytest.approx(cohen_kappa_score(ratings[both, a], ratings[both, b]))


def test_kappa_is_none_when_reviewers_share_no_photo_or_give_one_rating() -> None:
    assert pairwise_kappa([[1, _, 1], [_, 0, 1]]) == {(0, 1): None, (0, 2): None, (1, 2): pytest.approx(0)}


def test_agreement_raises_when_ratings_are_not_a_table() -> None:
    with pytest.raises(ValueError, match="shape"):
        krippendorff_alpha([1, 2, 3])
    with pytest.raises(ValueError, match="shape"):
        pairwise_kappa([[1, np.inf]])


def test_quadratic_kappa_equals_that_of_scikit_learn() -> None:
    random = np.random.default_rng(2)
    given = random.integers(0, 5, 300)
    predicted = np.clip(given + random.integers(-1, 3, 300), 0, 4)

    expected = cohen_kappa_score(predicted, given, weights="quadratic")

    assert quadratic_kappa(predicted, given) == pytest.approx(expected)
    assert quadratic_kappa([2, 2], [2, 2]) is None
    assert quadratic_kappa([], []) is None


def test_intervals_of_votes_equal_those_of_resampled_rows() -> None:
    random = np.random.default_rng(3)
    votes = (random.random((60, 4)) < 0.6).astype(float)
    votes[random.random(votes.shape) < 0.3] = np.nan
    patients = [row // 2 for row in range(60)]
    pair = np.nan_to_num(votes[:, :2])

    alpha, interval = alpha_with_interval(votes, patients)
    assert alpha == pytest.approx(krippendorff_alpha(votes))
    [expected] = cluster_intervals(lambda rows: _defined(krippendorff_alpha(votes[rows])), patients)
    assert interval == pytest.approx(expected)
    kappa, interval = kappa_with_interval(pair, patients)
    assert kappa == pytest.approx(pairwise_kappa(pair)[0, 1])
    [expected] = cluster_intervals(lambda rows: _defined(pairwise_kappa(pair[rows])[0, 1]), patients)
    assert interval == pytest.approx(expected)


@pytest.mark.parametrize("votes", [np.ones((4, 2)), np.ones((0, 2))], ids=["equal", "none"])
def test_agreement_of_votes_has_no_interval_when_it_is_not_defined(votes: Floats) -> None:
    clusters = range(len(votes))
    assert alpha_with_interval(votes, clusters) == kappa_with_interval(votes, clusters) == (None, None)


def _defined(value: float | None) -> list[float]:
    return [np.nan if value is None else value]
