import doctest
import math

import pytest
import torch

from triage.model import coral
from triage.model.coral import CoralHead, coral_loss, count_rank_violations, grades_of
from triage.model.network import pool_patches


def test_example_in_the_docstring_holds() -> None:
    assert doctest.testmod(coral) == (0, 4)


def test_head_gives_exact_logits_when_its_weights_are_set_by_hand() -> None:
    head = CoralHead(3, 4)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([1.0, -2.0, 0.5]))
        head.bias.copy_(torch.tensor([2.0, 1.0, 0.0, -1.0]))

    logits = head(torch.tensor([[1.0, 1.0, 4.0], [0.0, 0.0, 0.0]]))

    assert logits.tolist() == [[3.0, 2.0, 1.0, 0.0], [2.0, 1.0, 0.0, -1.0]]


def test_new_head_predicts_its_prior_when_all_features_are_zero() -> None:
    head = CoralHead(25088, 4)

    probabilities = head(torch.zeros(25088)).sigmoid()

    assert probabilities.tolist() == pytest.approx([1 / (1 + math.exp(-b)) for b in (1, 1 / 3, -1 / 3, -1)])


def test_loss_equals_the_one_computed_by_hand() -> None:
    logits = torch.tensor([[2.0, 0.0, -1.0, -3.0]]).expand(5, 4)[None]  # every patch alike
    p = [1 / (1 + math.exp(-x)) for x in (2.0, 0.0, -1.0, -3.0)]

    loss = coral_loss(pool_patches(logits)[0], torch.tensor([[1.0, 1.0, 0.0, 0.0]]))

    expected = -(math.log(p[0]) + math.log(p[1]) + math.log(1 - p[2]) + math.log(1 - p[3]))
    assert loss.item() == pytest.approx(expected, abs=1e-6)


def test_loss_is_the_mean_over_the_photos() -> None:
    cumulative = torch.tensor([[0.5, 0.25], [0.5, 0.5]])

    loss = coral_loss(cumulative, torch.tensor([[1.0, 1.0], [0.0, 0.0]]))

    assert loss.item() == pytest.approx((math.log(2) + math.log(4) + 2 * math.log(2)) / 2, abs=1e-6)


def test_output_adds_no_loss_when_its_target_is_open() -> None:
    cumulative = torch.tensor([[0.5, 0.25]], requires_grad=True)

    loss = coral_loss(cumulative, torch.tensor([[1.0, math.nan]]))
    loss.backward()

    assert loss.item() == pytest.approx(math.log(2), abs=1e-6)
    assert cumulative.grad is not None
    assert cumulative.grad.tolist() == [[-2.0, 0.0]]


def test_loss_is_of_the_pooled_probabilities_and_not_of_the_patches() -> None:
    logits = torch.tensor([4.0, -4.0, 4.0, -4.0, 0.0]).view(1, 5, 1).expand(1, 5, 4)

    loss = coral_loss(pool_patches(logits)[0], torch.ones(1, 4))

    assert loss.item() == pytest.approx(4 * math.log(2), abs=1e-5)


def test_loss_is_of_the_worst_patch_when_pooling_takes_the_minimum() -> None:
    logits = torch.tensor([4.0, -4.0, 4.0, 0.0, 4.0]).view(1, 5, 1).expand(1, 5, 4)

    loss = coral_loss(pool_patches(logits, "min")[0], torch.zeros(1, 4))

    assert loss.item() == pytest.approx(-4 * math.log(1 - 1 / (1 + math.exp(4))), abs=1e-5)


def test_sorting_the_biases_does_not_raise_the_loss() -> None:
    random = torch.Generator().manual_seed(0)
    for _ in range(50):
        signals = torch.randn(16, 5, 1, generator=random)
        levels = (torch.arange(4) < torch.randint(0, 5, (16, 1), generator=random)).float()
        biases = torch.randn(4, generator=random)
        before = coral_loss(pool_patches(signals + biases)[0], levels)
        after = coral_loss(pool_patches(signals + biases.sort(descending=True).values)[0], levels)
        assert after <= before + 1e-6


def test_grade_is_the_number_of_probabilities_above_one_half() -> None:
    cumulative = torch.tensor([[0.9, 0.6, 0.5], [0.5, 0.4, 0.1], [0.9, 0.8, 0.7]])

    assert grades_of(cumulative).tolist() == [2, 0, 3]


def test_rank_violations_are_counted_by_photo() -> None:
    cumulative = torch.tensor([[0.9, 0.5, 0.2], [0.5, 0.6, 0.1], [0.1, 0.2, 0.3], [0.4, 0.4, 0.4]])

    assert count_rank_violations(cumulative) == 2
