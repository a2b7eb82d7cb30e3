import numpy as np
import pytest
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression

from triage.statistics.auc import auc
from triage.statistics.linear_head import divide, fit_linear_head, predict_out_of_sample


def test_head_is_scikit_learns_when_features_have_equal_spread() -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(80, 5))
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    good = random.random(80) < expit(x[:, 0] * 2)

    head = fit_linear_head(x, good.astype(np.float64), ridge=0.5)

    reference = LogisticRegression(C=1 / (0.5 * 5), tol=1e-10, max_iter=1000).fit(x, good)
    assert head.weights == pytest.approx(reference.coef_[0], abs=1e-4)
    assert head.intercept == pytest.approx(reference.intercept_[0], abs=1e-4)


def test_head_does_not_depend_on_units_or_constant_features() -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(50, 4))
    targets = random.random(50)
    other = np.column_stack([x * [1, 1000, 0.01, 1] + [0, 5, 0, -3], np.full(50, 7.0)])

    first, second = fit_linear_head(x, targets), fit_linear_head(other, targets)

    assert second.logits(other) == pytest.approx(first.logits(x), abs=1e-4)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_head_is_constant_when_all_labels_are_equal(value: float) -> None:
    head = fit_linear_head(np.random.default_rng(0).normal(size=(9, 3)), np.full(9, value))

    assert head.logits(np.ones((2, 3))) == pytest.approx([logit((9 * value + 0.5) / 10)] * 2)


def test_probability_does_not_know_the_label_when_groups_repeat_a_photo() -> None:
    """Each patient has the same photo twice and a random label: a head that saw one copy would know the other."""
    random = np.random.default_rng(0)
    x = np.repeat(random.normal(size=(40, 200)), 2, axis=0)
    good = np.repeat(random.random(40) < 0.5, 2)
    patients = np.repeat(np.arange(40), 2).tolist()

    apart = predict_out_of_sample(x, good.astype(np.float64), patients)
    mixed = predict_out_of_sample(x, good.astype(np.float64), list(range(80)))

    assert auc(apart, good) < 0.7 < auc(mixed, good)


def test_groups_stay_together_in_folds_of_equal_size() -> None:
    groups = [number // 3 for number in range(60)]

    folds = divide(groups, 5, np.random.default_rng(0))

    assert np.bincount(folds).tolist() == [12] * 5
    assert len({(group, fold) for group, fold in zip(groups, folds.tolist(), strict=True)}) == 20


def test_one_group_is_refused() -> None:
    with pytest.raises(ValueError, match="two groups"):
        divide(["p"] * 4, 5, np.random.default_rng(0))
