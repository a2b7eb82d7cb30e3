"""Fits a reason head: logistic regressions on the statistics of a network's layers and the measures of photos.

Axes: N photos, F statistics, V measures, R reasons.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit
from torch import Tensor
from torch.nn import functional as F

from triage.domain.architecture import Layers
from triage.domain.reasons import Reason, ReasonHead
from triage.domain.states import FindingKind
from triage.evaluation.calibration import fit_platt
from triage.model.network import ReasonLayer

RIDGE: Final = 1e-3
"""The weight of the squared distance from the initial weights, of standardised inputs."""

_RANGE: Final = (0.005, 0.995)
"""The quantiles that measures are clipped to."""

_STEPS: Final = 150
_FEWEST: Final = 5
"""Fewest photos with the reason, and without, on which a probability is calibrated."""

_WANTED_NAMED: Final = 0.92
_WANTED_ADVISED: Final = 0.08
_NAMED_BETWEEN: Final = (0.15, 0.5)

_HAVE_OWN_LIMITS: Final = frozenset({FindingKind.NO_SKIN})
"""Reasons that keep the limits that a head starts with: a wrong one is worse than none, and few photos have them."""


@dataclass(frozen=True, slots=True)
class ReasonPhotos:
    """Photos with known reasons.

    Attributes:
        statistics: float32 (N, F), the mean over the patches of `triage.model.network.statistics_of`.
        measures: float64 (N, V), in the order of `names`.
        names: of the measures.
        given: float64 (N, R), 0..1: the share of those asked who gave each reason; NaN where no one was asked.
        fails: bool (N,): the photo fails by its score.
        weights: float64 (N,), how much each photo counts; all alike if None.
    """

    statistics: NDArray[np.float32]
    measures: NDArray[np.float64]
    names: Sequence[str]
    given: NDArray[np.float64]
    fails: NDArray[np.bool_]
    weights: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.fails)


def fit_reasons(
    kinds: Sequence[FindingKind],
    layers: Layers,
    photos: ReasonPhotos,
    held_out: ReasonPhotos,
    *,
    start: tuple[ReasonHead, ReasonLayer] | None = None,
    ridge: float = RIDGE,
) -> tuple[ReasonHead, ReasonLayer]:
    """Fits the weights to some photos, and calibrates the probabilities and chooses limits on others.

    Args:
        kinds: the reasons, in the order of the columns of `given`.
        layers: of the network that the statistics are of.
        photos: to fit to.
        held_out: of other patients. With few of them, probabilities are used as they are.
        start: a head whose weights count where the photos do not say otherwise.
        ridge: how much it counts.

    Returns:
        The head for the card, and the layer for the network.
    """
    lowest, highest = np.quantile(photos.measures, _RANGE, axis=0)
    inputs = np.concatenate([photos.statistics.astype(np.float64), photos.measures.clip(lowest, highest)], axis=1)
    centre, scale = inputs.mean(axis=0), inputs.std(axis=0) + 1e-6
    n_statistics, n_measures = photos.statistics.shape[1], photos.measures.shape[1]
    scale[:n_statistics] *= (n_statistics / max(1, n_measures)) ** 0.5  # together they weigh as much as the measures
    first = _start(start, kinds, photos.names, inputs.shape[1]) * scale[:, None]
    counts = np.ones(len(photos)) if photos.weights is None else photos.weights
    weights, intercepts = _regress((inputs - centre) / scale, photos.given, counts, first, ridge)
    weights = weights / scale[:, None]
    intercepts = intercepts - centre @ weights
    checked = np.empty((0, inputs.shape[1]))
    if len(held_out):
        checked = np.concatenate([held_out.statistics, held_out.measures.clip(lowest, highest)], axis=1)
    logits = checked @ weights + intercepts  # (N, R)
    slope, intercept = _calibrate(logits[held_out.fails], held_out.given[held_out.fails])
    weights, intercepts = slope * weights, slope * intercepts + intercept
    probabilities = expit(checked @ weights + intercepts)
    kept = {kind: start[0].reasons[kind] for kind in _HAVE_OWN_LIMITS if start and kind in start[0].reasons}
    others = [index for index, kind in enumerate(kinds) if kind not in kept] or list(range(len(kinds)))
    named, advised = choose_limits(probabilities[:, others], held_out.fails)
    layer = ReasonLayer(layers, len(kinds))
    layer.weight.data = torch.from_numpy(weights[:n_statistics].T.copy()).float()
    layer.bias.data.zero_()
    head = ReasonHead(
        reasons={
            kind: Reason(
                intercept=float(intercepts[index]),
                weights=dict(zip(photos.names, weights[n_statistics:, index].tolist(), strict=True)),
                named_from=kept[kind].named_from if kind in kept else named,
                advised_from=kept[kind].advised_from if kind in kept else advised,
            )
            for index, kind in enumerate(kinds)
        },
        limits={name: (float(low), float(high)) for name, low, high in zip(photos.names, lowest, highest, strict=True)},
    )
    return head, layer


def _start(
    start: tuple[ReasonHead, ReasonLayer] | None, kinds: Sequence[FindingKind], names: Sequence[str], n_inputs: int
) -> NDArray[np.float64]:
    """The weights of an earlier head in the order of these inputs: (F + V, R), 0 where it has none."""
    weights = np.zeros((n_inputs, len(kinds)))
    if start is None:
        return weights
    head, layer = start
    rows: Mapping[FindingKind, Tensor] = dict(zip(head.reasons, layer.weight.detach(), strict=True))
    for index, kind in enumerate(kinds):
        if kind in rows:
            measures = [head.reasons[kind].weights.get(name, 0.0) for name in names]
            weights[:, index] = [*rows[kind].tolist(), *measures]
    return weights


def _regress(
    inputs: NDArray[np.float64],
    given: NDArray[np.float64],
    counts: NDArray[np.float64],
    first: NDArray[np.float64],
    ridge: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Ridge logistic regressions on standardised inputs: weights (F + V, R) and intercepts (R,)."""
    x = torch.from_numpy(inputs)
    known = torch.from_numpy(np.isfinite(given) * (counts / counts.mean())[:, None])
    targets = torch.from_numpy(np.nan_to_num(given))
    start = torch.from_numpy(first)
    weights, intercepts = start.clone().requires_grad_(), torch.zeros(given.shape[1], dtype=torch.float64)
    intercepts.requires_grad_()
    optimiser = torch.optim.LBFGS([weights, intercepts], max_iter=_STEPS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        each = F.binary_cross_entropy_with_logits(x @ weights + intercepts, targets, reduction="none")  # (N, R)
        total = (each * known).sum() / len(x) + ridge * (weights - start).square().sum()
        total.backward()
        return total

    optimiser.step(loss)
    return weights.detach().numpy(), intercepts.detach().numpy()


def _calibrate(logits: NDArray[np.float64], given: NDArray[np.float64]) -> tuple[float, float]:
    """Platt's slope and intercept, the same for all reasons, so that the likeliest one stays so."""
    is_known = np.isfinite(given)
    has_reason = given[is_known] >= 0.5
    if min(int(has_reason.sum()), int((~has_reason).sum())) < _FEWEST:
        return 1.0, 0.0
    platt = fit_platt(expit(logits[is_known]), has_reason)
    return (platt.slope, platt.intercept) if platt.slope > 0 else (1.0, 0.0)


def choose_limits(probabilities: NDArray[np.float64], fails: NDArray[np.bool_]) -> tuple[float, float]:
    """The limits from which reasons are named for photos that fail, and for photos that pass.

    92 of 100 photos that fail get a reason, unless its probability is low; few photos that pass get one.
    """
    likeliest = probabilities.max(axis=1)
    lowest, highest = _NAMED_BETWEEN
    named = float(np.quantile(likeliest[fails], 1 - _WANTED_NAMED)) if fails.any() else highest
    advised = float(np.quantile(likeliest[~fails], 1 - _WANTED_ADVISED)) if (~fails).any() else highest
    return min(highest, max(lowest, named)), min(1.0, max(highest, advised))
