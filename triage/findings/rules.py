"""Findings: measured defects of a photo, in terms that a patient can act on. They never change a verdict.

Each finding is a logistic regression on a few measures. `python -m recipes.findings` fits them and writes
`findings.json`; `docs/findings.md` reports their accuracy.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from math import exp, prod
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from triage.domain.photos import Finding
from triage.domain.states import FindingKind, FindingLevel
from triage.findings.measures import Measures, measure_photo
from triage.findings.skin import SkinColour

BY_PATCH: Final = frozenset({FindingKind.DEFOCUS, FindingKind.MOTION, FindingKind.TOO_DARK, FindingKind.TOO_BRIGHT})
"""Findings located in patches; the others describe the whole photo."""

REPORTED: Final = 0.5
"""Strength from which a finding is reported; the intercept of each model is fitted to it."""

HIDE_SKIN: Final = frozenset({FindingKind.TOO_DARK, FindingKind.TOO_BRIGHT, FindingKind.COLOUR_CAST})
_NEED_COLOUR: Final = frozenset({FindingKind.NO_SKIN, FindingKind.BADLY_FRAMED})


@dataclass(frozen=True, slots=True)
class FindingModel:
    """Logistic regression on named measures.

    Attributes:
        weights: by term, a measure or the product of two measures (`name*name`).
        limits: range of each measure in the fitting data; measures are clipped to it.
        severe: strength from which the level is `severe`.
    """

    intercept: float
    weights: Mapping[str, float]
    limits: Mapping[str, tuple[float, float]]
    severe: float

    def logit(self, measures: Mapping[str, float]) -> float:
        """Above 0 the finding is reported."""
        logit = self.intercept
        for term, weight in self.weights.items():
            logit += weight * prod(self._within(name, measures[name]) for name in term.split("*"))
        return logit

    def strength(self, measures: Mapping[str, float]) -> float:
        """Returns the strength, 0..1."""
        return 1 / (1 + exp(-min(30.0, max(-30.0, self.logit(measures)))))

    def level(self, strength: float) -> FindingLevel | None:
        if strength >= self.severe:
            return FindingLevel.SEVERE
        return FindingLevel.MILD if strength >= REPORTED else None

    def _within(self, name: str, value: float) -> float:
        lowest, highest = self.limits[name]
        return min(highest, max(lowest, value))


@dataclass(frozen=True, slots=True)
class FindingModels:
    """The fitted models."""

    skin_colour: SkinColour
    by_kind: Mapping[FindingKind, FindingModel]


@dataclass(frozen=True, slots=True)
class Measured:
    """The measured defects of a photo.

    Attributes:
        findings: of level mild or severe, strongest first.
        values: as `values_of`, for a model's reason head.
    """

    findings: tuple[Finding, ...]
    values: Mapping[str, float]


def measure_findings(pixels: NDArray[np.uint8], small: NDArray[np.uint8]) -> Measured:
    """Measures the defects of a photo.

    Args:
        pixels: (H, W, 3), upright RGB at full resolution, uint8, any strides. Only sample tiles of the green
            channel are read.
        small: (448, 448, 3), the photo resized to a square with antialiasing, uint8 sRGB.

    Returns:
        The findings and what they are based on. Deterministic and thread-safe.
    """
    models = load_models()
    measures = measure_photo(pixels, small, models.skin_colour)
    return Measured(findings_of(measures, models), values_of(measures, models))


@cache
def measure_names() -> frozenset[str]:
    """The names in the values of every photo."""
    grey = np.full((448, 448, 3), 128, np.uint8)
    return frozenset(measure_findings(grey, grey).values)


def values_of(measures: Measures, models: FindingModels) -> dict[str, float]:
    """The measures of the whole photo, and the logit of each finding by its kind."""
    return {**measures.photo, **{kind: model.logit(measures.photo) for kind, model in models.by_kind.items()}}


def findings_of(measures: Measures, models: FindingModels) -> tuple[Finding, ...]:
    """Turns measures into findings, strongest first.

    Bad light or a colour cast makes skin detection unreliable: findings that depend on colour are then dropped.
    """
    found = [
        finding for kind, model in models.by_kind.items() if (finding := _finding(kind, model, measures)) is not None
    ]
    if any(finding.kind in HIDE_SKIN for finding in found):
        found = [finding for finding in found if finding.kind not in _NEED_COLOUR]
    return tuple(sorted(found, key=lambda finding: -finding.strength))


@cache
def load_models() -> FindingModels:
    """Loads the models that ship with the product (cached)."""
    text = resources.files("triage.findings").joinpath("findings.json").read_text(encoding="utf-8")
    return parse_models(json.loads(text))


def parse_models(document: Mapping[str, Any]) -> FindingModels:
    """Builds models from the document that `recipes.findings` writes."""
    by_kind = {
        FindingKind(kind): FindingModel(
            entry["intercept"],
            entry["weights"],
            {name: (lowest, highest) for name, (lowest, highest) in entry["limits"].items()},
            entry["severe"],
        )
        for kind, entry in document["findings"].items()
    }
    return FindingModels(SkinColour(tuple(document["skin_colour"])), by_kind)


def _finding(kind: FindingKind, model: FindingModel, measures: Measures) -> Finding | None:
    strength = model.strength(measures.photo)
    level = model.level(strength)
    if level is None:
        return None
    return Finding(kind, level, strength, _showing(model, measures) if kind in BY_PATCH else ())


def _showing(model: FindingModel, measures: Measures) -> tuple[int, ...]:
    """Indices of the patches that show the defect; if none reaches the limit, the strongest one."""
    strengths = [model.strength(patch) for patch in measures.patches]
    showing = tuple(index for index, strength in enumerate(strengths) if strength >= REPORTED)
    return showing or (int(np.argmax(strengths)),)
