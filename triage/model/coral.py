"""CORAL, rank-consistent ordinal regression: the head, its loss and the grade it predicts.

Cao, Mirjalili, Raschka 2020, Rank consistent ordinal regression for neural networks with application to age
estimation, doi:10.1016/j.patrec.2020.11.008.

K reviewers give a photo v votes, 0 to K. The network has K outputs; output k is the logit of P(votes >= k).

Axes: N photos, F features, K outputs. `...` is any number of leading axes.
"""

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

GRADE_BOUNDARY: Final = 0.5
"""A cumulative probability above it counts towards the grade."""


class CoralHead(nn.Module):
    """One weight vector for all outputs and one bias each: the cumulative probabilities cannot cross.

    That holds while the biases descend; `order_biases` sees to it.
    """

    def __init__(self, n_features: int, n_outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_features).normal_(std=n_features**-0.5))
        # prior odds of K evenly spread grades: the first output is likely, the last is not
        self.bias = nn.Parameter(torch.linspace(1.0, -1.0, n_outputs))

    def forward(self, features: Tensor) -> Tensor:
        """Features (..., F) to logits (..., K)."""
        return (features @ self.weight).unsqueeze(-1) + self.bias  # (..., F) -> (...) -> (..., 1) -> (..., K)

    @torch.no_grad()
    def order_biases(self) -> None:
        """Sorts the biases in descending order, which never raises the loss (proof of theorem 1 of the paper)."""
        self.bias.copy_(self.bias.sort(descending=True).values)


class IndependentHead(nn.Linear):
    """K outputs with a weight vector each, for comparison: their cumulative probabilities may cross."""

    def order_biases(self) -> None:
        """Does nothing: without a shared weight vector, no order of the biases keeps probabilities from crossing."""


def coral_loss(cumulative: Tensor, levels: Tensor) -> Tensor:
    """The cross-entropy of each output, summed over the outputs whose target is known, mean over the photos.

    Source: doi:10.1016/j.patrec.2020.11.008. The paper weighs the outputs; here all weigh the same.

    >>> cumulative = torch.tensor([[0.9, 0.8, 0.3, 0.1]])
    >>> two_votes = torch.tensor([[1.0, 1.0, 0.0, 0.0]])
    >>> round(coral_loss(cumulative, two_votes).item(), 4)  # -log(.9) - log(.8) - log(.7) - log(.9)
    0.7905
    >>> grades_of(cumulative).tolist()
    [2]

    Args:
        cumulative: float (N, K), P(votes >= 1) ... P(votes >= K).
        levels: float (N, K), 0..1, NaN where the target is not known.

    Returns:
        A scalar.
    """
    each = F.binary_cross_entropy(cumulative, levels.nan_to_num(), reduction="none")  # (N, K)
    return torch.where(levels.isnan(), 0.0, each).sum(dim=1).mean()  # (N, K) -> (N,) -> ()


def grades_of(cumulative: Tensor) -> Tensor:
    """The predicted number of votes: how many cumulative probabilities exceed one half.

    Args:
        cumulative: float (N, K).

    Returns:
        int64 (N,), 0..K.
    """
    return (cumulative > GRADE_BOUNDARY).sum(dim=1)  # (N, K) -> (N,)


def count_rank_violations(cumulative: Tensor) -> int:
    """The number of photos with a cumulative probability that rises from one output to the next. CORAL has none.

    Args:
        cumulative: float (N, K).
    """
    return int((cumulative.diff(dim=1) > 1e-6).any(dim=1).sum())  # (N, K) -> (N, K-1) -> (N,) -> ()
