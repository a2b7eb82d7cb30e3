"""From collected samples to a reason head, and what it does with photos that it was not fitted to."""

import csv
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from recipes.reasons.collecting import CLOSE_UPS, Original, Part, Sample, key_of, read_samples
from triage.domain.architecture import layers_of
from triage.domain.card import Card
from triage.domain.reasons import SCORE, ReasonHead
from triage.domain.states import FindingKind
from triage.findings.rules import load_models
from triage.findings.traces import TRACES
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
)
"""All reasons but `no_skin`, which `recipes.reasons.no_skin` fits: of these, scenes are examples as good as skin."""

PLAIN: Final = ("defocus", "shake", "motion", "dark", "overexposed", "low_resolution", "jpeg")
"""The degradations of `triage.samples.drawing`, whose strengths are known."""

GOOD: Final = "good"
"""What a labeller writes if there is nothing to improve."""

_ENLARGES: Final = {FindingKind.TOO_CLOSE, FindingKind.TOO_FAR, FindingKind.BADLY_FRAMED, FindingKind.NO_SKIN}

_PLAIN: Final = 2.0
"""The weight of photos with one cause of the kinds that the test has; other photos count once."""

_PAIR: Final = 3.0
"""The weight of photos with two causes."""

_LOOKED_AT: Final = 4.0
"""The weight of photos that fail as they are and whose reasons a labeller saw: there are few of them."""

_RIDGE: Final = 2e-3

N_FOLDS: Final = 4
"""Parts of the photos, by patient, of which each gets the answers of a head that was fitted to the others."""

_SMALL: Final = 320
"""A photo that fails as it is and is at most so wide has too few pixels, whatever else is wrong with it."""


@dataclass(frozen=True)
class Collected:
    """All samples and what a head reads of them."""

    samples: Sequence[Sample]
    photos: ReasonPhotos

    def of(self, *parts: Part) -> "Collected":
        return self.where(np.array([sample.part in parts for sample in self.samples]))

    @classmethod
    def concatenate(cls, parts: Sequence["Collected"]) -> "Collected":
        rows = [part.photos for part in parts]
        photos = ReasonPhotos(
            np.concatenate([row.statistics for row in rows]),
            np.concatenate([row.measures for row in rows]),
            rows[0].names,
            np.concatenate([row.given for row in rows]),
            np.concatenate([row.fails for row in rows]),
        )
        return cls([sample for part in parts for sample in part.samples], photos)

    def about_reasons(self) -> "Collected":
        """Without the close-ups that are for `no_skin` alone."""
        return self.where(np.array([sample.source != CLOSE_UPS for sample in self.samples]))

    def natural(self) -> "Collected":
        """The photos as they are."""
        return self.where(np.array([_is_natural(sample) for sample in self.samples]))

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
    keys = {(original.source, original.path.name): key_of(original) for original in originals}
    with Path(__file__).with_name("labels.csv").open(newline="", encoding="utf-8") as file:
        return {
            keys[row["source"], row["image"]]: Looks(row["first_look"].split(), row["second_look"].split())
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
    _hide_zoom(samples, measured, [names.index(name) for name in TRACES])
    models = load_models().by_kind
    findings = [[model.logit(dict(zip(names, row, strict=True))) for model in models.values()] for row in measured]
    scores = logit(np.clip([sample.score for sample in samples], 1e-9, 1 - 1e-9))
    by_name = dict(zip([*names, *models, SCORE], [*measured.T, *np.array(findings).T, scores], strict=True))
    ordered = sorted(by_name)
    fails = np.array([sample.score < threshold for sample in samples])
    given = np.array([_given(sample, looks, fails=bool(failed)) for sample, failed in zip(samples, fails, strict=True)])
    inputs = np.stack([by_name[name] for name in ordered], axis=1)
    weights = np.array([_weight(sample, looks) for sample in samples])
    return Collected(samples, ReasonPhotos(statistics, inputs, ordered, given, fails, weights))


def _hide_zoom(samples: Sequence[Sample], measured: NDArray[np.float64], traces: Sequence[int]) -> None:
    """Gives photos that were made by enlarging a part the traces of photos as they are: a lens leaves none."""
    for part in Part:
        pool = [row for row, sample in enumerate(samples) if sample.part == part and _is_natural(sample)]
        for row, sample in enumerate(samples):
            if pool and sample.part == part and _ENLARGES.intersection(sample.causes):
                measured[row, traces] = measured[pool[row % len(pool)], traces]


def _weight(sample: Sample, looks: Mapping[str, Looks]) -> float:
    if _is_natural(sample) and key_of(sample) in looks:
        return _LOOKED_AT
    return _PLAIN if is_plain(sample) else _PAIR if len(sample.causes) > 1 else 1.0


def is_plain(sample: Sample) -> bool:
    """One cause, as `triage.imaging.degradation` degrades."""
    return len(sample.causes) == 1 and sample.variants[0] in PLAIN


@dataclass(frozen=True)
class Fitted:
    """A head, and what heads say of photos as they are that they were not fitted to.

    Attributes:
        natural: the photos as they are of the parts to fit and to calibrate.
        probabilities: (N, R), of heads fitted to other photos of the part to fit.
    """

    head: ReasonHead
    layer: ReasonLayer
    natural: Collected
    probabilities: NDArray[np.float64]


def fit(card: Card, collected: Collected, originals: Sequence[Original]) -> Fitted:
    """Fits the head, and chooses its limits on photos as they are."""
    layers, fitted, calibrated = layers_of(card.architecture), collected.of(Part.FIT), collected.of(Part.CALIBRATE)
    head, layer = fit_reasons(KINDS, layers, fitted.photos, calibrated.photos, ridge=_RIDGE)
    natural = [calibrated.natural()]
    probabilities = [predict(head, layer, natural[0])]
    fold_of = {key_of(original): zlib.crc32(original.group.encode()) % N_FOLDS for original in originals}
    folds = np.array([fold_of.get(key_of(sample), sample.number % N_FOLDS) for sample in fitted.samples])
    for fold in range(N_FOLDS):
        other = fit_reasons(KINDS, layers, fitted.where(folds != fold).photos, calibrated.photos, ridge=_RIDGE)
        natural.append(fitted.where(folds == fold).natural())
        probabilities.append(predict(*other, natural[-1]))
    unseen = Collected.concatenate(natural)
    named, advised = choose_limits(np.concatenate(probabilities), unseen.photos.fails)
    limits = {"named_from": named, "advised_from": advised}
    reasons = {kind: reason.model_copy(update=limits) for kind, reason in head.reasons.items()}
    return Fitted(ReasonHead(reasons=reasons, limits=head.limits), layer, unseen, np.concatenate(probabilities))


def predict(head: ReasonHead, layer: ReasonLayer, collected: Collected) -> NDArray[np.float64]:
    """The probabilities of the reasons: (N, R), in the order of the head."""
    photos, reasons = collected.photos, head.reasons.values()
    low, high = np.array([head.limits[name] for name in photos.names]).T
    measures = photos.measures.clip(low, high)
    weights = np.array([[reason.weights.get(name, 0.0) for name in photos.names] for reason in reasons])
    intercepts = np.array([reason.intercept for reason in reasons])
    shares = photos.statistics @ layer.weight.detach().numpy().T
    probabilities: NDArray[np.float64] = expit(shares + measures @ weights.T + intercepts)
    return probabilities


def _is_natural(sample: Sample) -> bool:
    return not (sample.causes or sample.tone or sample.source == CLOSE_UPS)


def _given(sample: Sample, looks: Mapping[str, Looks], *, fails: bool) -> list[float]:
    """Known reasons are 1 and 0. Those of a photo that fails as it is are what a labeller saw, if anyone looked."""
    if sample.causes or not fails:
        return [float(kind in sample.causes) for kind in KINDS]
    seen = looks.get(key_of(sample)) if sample.part == Part.FIT else None
    given = [np.nan if seen is None else float(kind in seen.first) for kind in KINDS]
    if 0 < sample.side <= _SMALL:
        given[KINDS.index(FindingKind.LOW_RESOLUTION)] = 1.0
    return given
