"""Findings: what is wrong with a photo, measured, in terms that a patient can act on. They never overrule the model.

Each is a logistic regression on a few measures; `python -m recipes.findings` fits them and writes `findings.json`.
What they reach is in `docs/findings.md`.
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
"""The others are of the photo as a whole."""

TOLD: Final = 0.5
"""The strength from which a finding is told: each model's intercept is chosen so."""

HIDE_SKIN: Final = frozenset({FindingKind.TOO_DARK, FindingKind.TOO_BRIGHT, FindingKind.COLOUR_CAST})
_NEED_COLOUR: Final = frozenset({FindingKind.NO_SKIN, FindingKind.BADLY_FRAMED})


@dataclass(frozen=True, slots=True)
class FindingModel:
    """Logistic regression on named measures.

    Attributes:
        weights: by term: a measure's name, or two names joined by `*` for their product.
        limits: (lowest, highest) of each measure among the photos it was fitted on; measures are cut there.
        severe: strength from which the finding is severe.
    """

    intercept: float
    weights: Mapping[str, float]
    limits: Mapping[str, tuple[float, float]]
    severe: float

    def logit(self, measures: Mapping[str, float]) -> float:
        """Above 0 the finding is told."""
        logit = self.intercept
        for term, weight in self.weights.items():
            logit += weight * prod(self._within(name, measures[name]) for name in term.split("*"))
        return logit

    def strength(self, measures: Mapping[str, float]) -> float:
        """0..1."""
        return 1 / (1 + exp(-min(30.0, max(-30.0, self.logit(measures)))))

    def level(self, strength: float) -> FindingLevel | None:
        if strength >= self.severe:
            return FindingLevel.SEVERE
        return FindingLevel.MILD if strength >= TOLD else None

    def _within(self, name: str, value: float) -> float:
        lowest, highest = self.limits[name]
        return min(highest, max(lowest, value))


@dataclass(frozen=True, slots=True)
class FindingModels:
    """All that was fitted."""

    skin_colour: SkinColour
    by_kind: Mapping[FindingKind, FindingModel]


def measure_findings(pixels: NDArray[np.uint8], small: NDArray[np.uint8]) -> tuple[Finding, ...]:
    """Measures what is wrong with a photo.

    Args:
        pixels: (H, W, 3), upright RGB at full resolution, uint8 0..255, any size and strides. Only
            sample tiles of the green channel are read.
        small: (448, 448, 3), the same photo squashed to a square, antialiased, uint8 sRGB.

    Returns:
        Those at level mild or severe, the strongest first. Same input, same findings; safe in threads.
    """
    models = load_models()
    return judge_measures(measure_photo(pixels, small, models.skin_colour), models)


def judge_measures(measures: Measures, models: FindingModels) -> tuple[Finding, ...]:
    """Turns measures into findings, the strongest first.

    Where light or colour are off, colours do not tell skin from other things: then nothing is said about it.
    """
    found = [
        finding for kind, model in models.by_kind.items() if (finding := _judge(kind, model, measures)) is not None
    ]
    if any(finding.kind in HIDE_SKIN for finding in found):
        found = [finding for finding in found if finding.kind not in _NEED_COLOUR]
    return tuple(sorted(found, key=lambda finding: -finding.strength))


@cache
def load_models() -> FindingModels:
    """Reads what ships with the product, once."""
    text = resources.files("triage.findings").joinpath("findings.json").read_text(encoding="utf-8")
    return parse_models(json.loads(text))


def parse_models(document: Mapping[str, Any]) -> FindingModels:
    """Builds models from the document that `recipes.findings` writes."""
    by_kind = {
        FindingKind(kind): FindingModel(
            own["intercept"],
            own["weights"],
            {name: (lowest, highest) for name, (lowest, highest) in own["limits"].items()},
            own["severe"],
        )
        for kind, own in document["findings"].items()
    }
    return FindingModels(SkinColour(tuple(document["skin_colour"])), by_kind)


def _judge(kind: FindingKind, model: FindingModel, measures: Measures) -> Finding | None:
    strength = model.strength(measures.photo)
    level = model.level(strength)
    if level is None:
        return None
    return Finding(kind, level, strength, _showing(model, measures) if kind in BY_PATCH else ())


def _showing(model: FindingModel, measures: Measures) -> tuple[int, ...]:
    """The patches that have the flaw by themselves; where none has enough of it, the one with most."""
    strengths = [model.strength(patch) for patch in measures.patches]
    showing = tuple(index for index, strength in enumerate(strengths) if strength >= TOLD)
    return showing or (int(np.argmax(strengths)),)
