"""Why a photo fails, by a model's reason head: learned from the network's layers and the measures of the photo."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import exp, log, prod
from typing import Final

from triage.domain.photos import Finding, PhotoScore
from triage.domain.reasons import SCORE, SEVERE, Reason, ReasonHead
from triage.domain.states import FindingKind, FindingLevel
from triage.findings.rules import BY_PATCH, measure_names

_LARGEST_LOGIT: Final = 30.0


def findings_by(
    head: ReasonHead | None,
    score: PhotoScore,
    measures: Mapping[str, float],
    measured: Sequence[Finding],
    *,
    acceptable: bool,
) -> tuple[Finding, ...]:
    """The findings of a verdict, the likeliest first.

    Args:
        head: of the model that gave the score. Without one, the findings are the measured ones.
        score: with the patches' share of each reason, if there is a head.
        measures: of the photo, from `triage.findings.rules.values_of`.
        measured: the measured findings.
        acceptable: whether the photo passes.

    Returns:
        The reasons whose probability reaches their limit, which is higher for a photo that passes. A photo that fails
        without such a reason has the one finding `no_clear_reason`.
    """
    if head is None:
        return tuple(measured)
    values = _within(head, inputs_of(score, measures))
    by_kind = {finding.kind: finding for finding in measured}
    logits = _logits(head, score.reasons, values)
    found = [
        _finding(kind, logits[kind], head.reasons[kind], _shares(score, index), measures, by_kind.get(kind))
        for index, kind in enumerate(head.reasons)
        if _sigmoid(logits[kind]) >= _limit(head.reasons[kind], acceptable=acceptable)
    ]
    if not found and not acceptable:
        none = prod(1 - _sigmoid(logit) for logit in logits.values())
        return (Finding(FindingKind.NO_CLEAR_REASON, FindingLevel.MILD, none, probability=none),)
    return tuple(sorted(found, key=lambda finding: -(finding.probability or 0)))


def probabilities_of(head: ReasonHead, score: PhotoScore, measures: Mapping[str, float]) -> dict[FindingKind, float]:
    """The probability of each reason, in the order of the head."""
    logits = _logits(head, score.reasons, _within(head, inputs_of(score, measures)))
    return {kind: _sigmoid(logit) for kind, logit in logits.items()}


def inputs_of(score: PhotoScore, measures: Mapping[str, float]) -> dict[str, float]:
    """What a reason head reads besides the network's layers: the measures and the logit of the score."""
    return {**measures, SCORE: _logit(score.score)}


def unknown_measures(head: ReasonHead) -> list[str]:
    """The names that the head reads and no photo has, in order."""
    return sorted(head.limits.keys() - measure_names() - {SCORE})


def _logits(
    head: ReasonHead, patches: Sequence[Sequence[float]], values: Mapping[str, float]
) -> dict[FindingKind, float]:
    return {
        kind: reason.intercept
        + sum(patch[index] for patch in patches) / len(patches)
        + sum(weight * values[name] for name, weight in reason.weights.items())
        for index, (kind, reason) in enumerate(head.reasons.items())
    }


def _finding(
    kind: FindingKind,
    logit: float,
    reason: Reason,
    shares: Sequence[float],
    measures: Mapping[str, float],
    measured: Finding | None,
) -> Finding:
    probability = _sigmoid(logit)
    level = FindingLevel.SEVERE if probability >= SEVERE else FindingLevel.MILD
    if measured is not None:
        return replace(measured, level=level, probability=probability)
    strength = _sigmoid(measures[kind]) if kind in measures else probability
    mean = sum(shares) / len(shares)
    showing = [index for index, share in enumerate(shares) if _sigmoid(logit + share - mean) >= reason.named_from]
    return Finding(kind, level, strength, tuple(showing) if kind in BY_PATCH else (), probability)


def _shares(score: PhotoScore, index: int) -> list[float]:
    return [patch[index] for patch in score.reasons]


def _within(head: ReasonHead, values: Mapping[str, float]) -> dict[str, float]:
    return {name: min(highest, max(lowest, values[name])) for name, (lowest, highest) in head.limits.items()}


def _limit(reason: Reason, *, acceptable: bool) -> float:
    return reason.advised_from if acceptable else reason.named_from


def _logit(probability: float) -> float:
    bounded = min(1 - 1e-9, max(1e-9, probability))
    return log(bounded / (1 - bounded))


def _sigmoid(logit: float) -> float:
    return 1 / (1 + exp(-min(_LARGEST_LOGIT, max(-_LARGEST_LOGIT, logit))))
