"""From collected samples to a reason head, and what it does with photos that it was not fitted to."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from recipes.reasons.collecting import Original, Part, Sample, read_samples
from triage.domain.architecture import layers_of
from triage.domain.card import Card
from triage.domain.reasons import SCORE, ReasonHead
from triage.domain.states import FindingKind
from triage.findings.rules import load_models
from triage.model.network import ReasonLayer
from triage.training.reasons import ReasonPhotos, choose_limits, fit_reasons

KINDS: Final = (
    FindingKind.DEFOCUS,
    FindingKind.MOTION,
    FindingKind.TOO_DARK,
    FindingKind.TOO_BRIGHT,
    FindingKind.LOW_RESOLUTION,
    FindingKind.COLOUR_CAST,
    FindingKind.BADLY_FRAMED,
    FindingKind.TOO_FAR,
    FindingKind.TOO_CLOSE,
    FindingKind.NO_SKIN,
)
GOOD: Final = "good"
"""What a labeller writes if there is nothing to improve."""

_SEEN: Final = 1 / 3
"""The weight of a photo that fails as it is: nearly all are scenes at night, and few patients take such photos."""

_SMALL: Final = 320
"""A photo that fails as it is and is at most so wide has too few pixels, whatever else is wrong with it."""


@dataclass(frozen=True)
class Collected:
    """All samples and what a head reads of them."""

    samples: Sequence[Sample]
    photos: ReasonPhotos

    def of(self, *parts: Part) -> "Collected":
        return self.where(np.array([sample.part in parts for sample in self.samples]))

    def natural(self) -> "Collected":
        """The photos as they are."""
        return self.where(np.array([not (sample.causes or sample.tone) for sample in self.samples]))

    def where(self, chosen: NDArray[np.bool_]) -> "Collected":
        rows = self.photos
        photos = ReasonPhotos(
            rows.statistics[chosen],
            rows.measures[chosen],
            rows.names,
            rows.given[chosen],
            rows.fails[chosen],
            None if rows.weights is None else rows.weights[chosen],
        )
        return Collected([sample for sample, is_chosen in zip(self.samples, chosen, strict=True) if is_chosen], photos)


@dataclass(frozen=True, slots=True)
class Looks:
    """What a labeller saw in a photo at a first look and, for some photos, at a second one in another order.

    Each is the main reason and perhaps others; `good` if there is nothing to improve.
    """

    first: Sequence[str]
    second: Sequence[str]


def read_looks(originals: Sequence[Original]) -> dict[str, Looks]:
    """The looks of `labels.csv`, by the key of the original, such as clive-17."""
    key_of = {(original.source, original.path.name): f"{original.source}-{original.number}" for original in originals}
    with Path(__file__).with_name("labels.csv").open(newline="", encoding="utf-8") as file:
        return {
            key_of[row["source"], row["image"]]: Looks(row["first_look"].split(), row["second_look"].split())
            for row in csv.DictReader(file)
        }


def read_collected(folder: Path, threshold: float, names: Sequence[str], looks: Mapping[str, Looks]) -> Collected:
    """Reads what `collect` wrote.

    Args:
        looks: the reasons of photos that fail as they are, used for those of the part to fit.
        folder: of the chunks.
        threshold: below it a photo fails.
        names: of the measures of the whole photo, in alphabetical order.
    """
    samples = read_samples(folder)
    arrays = [np.load(chunk) for chunk in sorted(folder.glob("chunk-*.npz"))]
    statistics = np.concatenate([each["statistics"] for each in arrays]).astype(np.float32)
    measured = np.concatenate([each["measures"] for each in arrays]).astype(np.float64)
    models = load_models().by_kind
    findings = [[model.logit(dict(zip(names, row, strict=True))) for model in models.values()] for row in measured]
    scores = logit(np.clip([sample.score for sample in samples], 1e-9, 1 - 1e-9))
    by_name = dict(zip([*names, *models, SCORE], [*measured.T, *np.array(findings).T, scores], strict=True))
    ordered = sorted(by_name)
    fails = np.array([sample.score < threshold for sample in samples])
    given = np.array([_given(sample, looks, fails=bool(failed)) for sample, failed in zip(samples, fails, strict=True)])
    inputs = np.stack([by_name[name] for name in ordered], axis=1)
    seen = np.array([not sample.causes for sample in samples]) & fails
    return Collected(samples, ReasonPhotos(statistics, inputs, ordered, given, fails, np.where(seen, _SEEN, 1.0)))


def fit(card: Card, collected: Collected) -> tuple[ReasonHead, ReasonLayer]:
    """Fits the head, and chooses its limits on photos as they are."""
    layers, fitted, calibrated = layers_of(card.architecture), collected.of(Part.FIT), collected.of(Part.CALIBRATE)
    head, layer = fit_reasons(KINDS, layers, fitted.photos, calibrated.photos)
    # the limits, from photos as they are that a head was not fitted to: each half of the part to fit by the other's
    natural = [calibrated.natural()]
    probabilities = [predict(head, layer, natural[0])]
    halves = np.array([sample.number % 2 == 0 for sample in fitted.samples])
    for half in (halves, ~halves):
        other = fit_reasons(KINDS, layers, fitted.where(~half).photos, calibrated.photos)
        natural.append(fitted.where(half).natural())
        probabilities.append(predict(*other, natural[-1]))
    fails = np.concatenate([each.photos.fails for each in natural])
    named, advised = choose_limits(np.concatenate(probabilities), fails)
    limits = {"named_from": named, "advised_from": advised}
    reasons = {kind: reason.model_copy(update=limits) for kind, reason in head.reasons.items()}
    return head.model_copy(update={"reasons": reasons}), layer


def predict(head: ReasonHead, layer: ReasonLayer, collected: Collected) -> NDArray[np.float64]:
    """The probabilities of the reasons: (N, R), in the order of `KINDS`."""
    photos = collected.photos
    low, high = np.array([head.limits[name] for name in photos.names]).T
    measures = photos.measures.clip(low, high)
    weights = np.array([[head.reasons[kind].weights[name] for name in photos.names] for kind in KINDS])
    intercepts = np.array([head.reasons[kind].intercept for kind in KINDS])
    shares = photos.statistics @ layer.weight.detach().numpy().T
    probabilities: NDArray[np.float64] = expit(shares + measures @ weights.T + intercepts)
    return probabilities


def _given(sample: Sample, looks: Mapping[str, Looks], *, fails: bool) -> list[float]:
    """Known reasons are 1 and 0. Those of a photo that fails as it is are what a labeller saw, if anyone looked."""
    if sample.causes or not fails:
        return [float(kind in sample.causes) for kind in KINDS]
    seen = looks.get(f"{sample.source}-{sample.number}") if sample.part == Part.FIT else None
    given = [np.nan if seen is None else float(kind in seen.first) for kind in KINDS]
    if 0 < sample.side <= _SMALL:
        given[KINDS.index(FindingKind.LOW_RESOLUTION)] = 1.0
    return given
