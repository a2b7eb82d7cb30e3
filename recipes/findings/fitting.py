"""Fits each finding and chooses its two thresholds, on photos that no reported figure comes from."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import precision_recall_curve

from recipes.findings.measuring import Measured
from recipes.findings.photos import GOOD_VOTES, Part
from triage.domain.states import FindingKind
from triage.findings.rules import HIDE_SKIN, FindingModel

MEASURED: Final = tuple(
    kind
    for kind in FindingKind
    if kind not in {FindingKind.TOO_FAR, FindingKind.TOO_CLOSE, FindingKind.NO_CLEAR_REASON}
)
"""The findings that are measured; a model's reason head knows others."""

_BLUR: Final = (
    *("fine", "middle", "coarse", "across_fine", "across_middle", "along_fine", "along_middle", "along_coarse"),
    *("direction_fine", "direction_middle", "direction_wide", "direction_widest", "contrast", "noise", "size"),
)
_DEFOCUS: Final = (
    *("fine*fine", "fine*middle", "middle*middle", "middle*coarse", "coarse*coarse", "fine*size", "middle*size"),
)
_MOTION: Final = (
    *("direction_fine*direction_fine", "direction_middle*direction_middle", "direction_wide*direction_wide"),
    *("direction_middle*direction_wide", "direction_fine*middle", "direction_fine*along_fine"),
    *("direction_middle*along_middle", "across_fine*along_fine", "across_middle*along_middle"),
)
_SKIN: Final = ("skin", "skin_centre", "skin_fullest", "skin_edge", "diversity", "block_diversity")
_COLOUR: Final = ("red", "blue", "light_red", "light_blue")

TERMS: Final[Mapping[FindingKind, tuple[str, ...]]] = {
    FindingKind.DEFOCUS: _BLUR + _DEFOCUS,
    FindingKind.MOTION: _BLUR + _MOTION,
    FindingKind.TOO_DARK: ("median", "shadows", "lights", "warmth", "noise"),
    FindingKind.TOO_BRIGHT: (
        *("median", "shadows", "lights", "washed", "worst_clipped", "spot", "diversity"),
        *("block_diversity", "skin_edge", "skin_contrast"),  # a lamp on skin is glare, a white sky is not glare
    ),
    FindingKind.LOW_RESOLUTION: (*_BLUR, *_DEFOCUS, "size*size"),
    FindingKind.COLOUR_CAST: (
        *_COLOUR,
        *(f"{a}*{b}" for i, a in enumerate(_COLOUR) for b in _COLOUR[i:]),
        *("neutral", "median", "diversity", "block_diversity"),
        *(f"{name}*diversity" for name in (*_COLOUR, "red*red", "red*blue", "blue*blue")),
        *("red*red*red", "red*red*blue", "red*blue*blue", "blue*blue*blue"),
    ),
    FindingKind.BADLY_FRAMED: (*_SKIN, "skin_emptiest", "skin_off_centre", "skin_contrast", "skin_isolated"),
    FindingKind.NO_SKIN: _SKIN,
}

_BLURRED: Final = frozenset({"enlarged"})  # also blurred, so neither a true nor a false alarm
_LIT: Final = frozenset({"dim", "warm", "cold"})  # weaker than a flaw, but not original
IGNORED: Final[Mapping[FindingKind, frozenset[str]]] = {
    FindingKind.DEFOCUS: _BLURRED,
    FindingKind.MOTION: frozenset(),
    FindingKind.TOO_DARK: frozenset({"dim", "defocus_dark"}),
    FindingKind.TOO_BRIGHT: frozenset(),
    FindingKind.LOW_RESOLUTION: frozenset(),
    FindingKind.COLOUR_CAST: frozenset({"warm", "cold"}),
    FindingKind.BADLY_FRAMED: frozenset(),
    FindingKind.NO_SKIN: frozenset({"dark", "dark_noisy", "overexposed", "glare", "cast", "pasted"}),
}
_ABOUT_SKIN: Final = frozenset({FindingKind.NO_SKIN, FindingKind.BADLY_FRAMED})

_ALARMS_ON_SCENES: Final = (0.025, 0.006)  # largest shares: mild, severe
_ALARMS_ON_SKIN: Final = (0.05, 0.01)  # larger: these are not rated, and some are blurred or small
_FAR_SKIN_DENIED: Final = 0.05  # largest share of photos with skin that is small or cut off
_MARGINS: Final = (0.7, 1.0)  # logits
CLEAN: Final = frozenset({"original", "tone"})


def rows_for(kind: FindingKind, rows: Sequence[Measured], *parts: Part) -> list[Measured]:
    """The samples that a finding can be fitted to or tested on."""
    return [
        row
        for row in rows
        if row.part in parts
        and row.variant not in IGNORED[kind]
        and (row.votes is None or row.votes >= GOOD_VOTES)
        and not (kind in _ABOUT_SKIN and row.source == "clive" and row.flaw is not kind)
    ]


def is_flawed(kind: FindingKind, rows: Sequence[Measured]) -> NDArray[np.bool_]:
    return np.array([row.flaw is kind for row in rows])


def fit_findings(rows: Sequence[Measured]) -> dict[FindingKind, FindingModel]:
    """Fits all findings; `no_skin` last, because it is not reported where light or colour hide skin."""
    models: dict[FindingKind, FindingModel]
    models = {kind: fit_finding(kind, rows) for kind in MEASURED if kind is not FindingKind.NO_SKIN}
    hiding = [models[kind] for kind in HIDE_SKIN]
    seen = [row for row in rows if not any(model.level(model.strength(row.measures.photo)) for model in hiding)]
    return models | {FindingKind.NO_SKIN: fit_finding(FindingKind.NO_SKIN, seen)}


def fit_finding(kind: FindingKind, rows: Sequence[Measured]) -> FindingModel:
    """Fits a logistic regression on the part to fit, and thresholds on the part to choose."""
    samples = rows_for(kind, rows, Part.FIT)
    names = sorted({name for term in TERMS[kind] for name in term.split("*")})
    values = {name: np.array([row.measures.photo[name] for row in samples]) for name in names}
    terms = np.stack([np.prod([values[name] for name in term.split("*")], axis=0) for term in TERMS[kind]], axis=1)
    flawed = is_flawed(kind, samples)
    centre, spread = terms.mean(axis=0), terms.std(axis=0) + 1e-6
    model = LogisticRegression(C=0.3, max_iter=3000)
    model.fit((terms - centre) / spread, flawed, sample_weight=_weights(samples, flawed))
    weights = model.coef_[0] / spread
    intercept = float(model.intercept_[0] - (weights * centre).sum())
    limits = {name: (float(column.min()), float(column.max())) for name, column in values.items()}
    fitted = FindingModel(intercept, dict(zip(TERMS[kind], map(float, weights), strict=True)), limits, 1.0)
    mild, severe = _no_skin_thresholds(fitted, rows) if kind is FindingKind.NO_SKIN else _thresholds(kind, fitted, rows)
    return replace(fitted, intercept=intercept - mild, severe=float(expit(severe - mild)))


def logits_of(model: FindingModel, rows: Sequence[Measured]) -> NDArray[np.float64]:
    return np.array([model.logit(row.measures.photo) for row in rows])


def document_of(skin_colour: Sequence[float], models: Mapping[FindingKind, FindingModel]) -> dict[str, Any]:
    """The document that `triage.findings.rules.parse_models` reads."""

    def short(value: float) -> float:
        return float(f"{value:.6g}")

    return {
        "skin_colour": [short(weight) for weight in skin_colour],
        "findings": {
            kind.value: {
                "intercept": short(model.intercept),
                "weights": {term: short(weight) for term, weight in model.weights.items()},
                "limits": {name: [short(low), short(high)] for name, (low, high) in model.limits.items()},
                "severe": short(model.severe),
            }
            for kind, model in models.items()
        },
    }


def _weights(rows: Sequence[Measured], flawed: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Sample weights: half for photos with the flaw; a quarter each for originals and for other degraded photos."""
    clean = np.array([row.variant in CLEAN for row in rows]) & ~flawed
    weights = np.zeros(len(rows))
    for group, share in ((flawed, 0.5), (clean, 0.25), (~flawed & ~clean, 0.25)):
        if group.any():
            weights[group] = share / group.sum()
    return weights * len(rows)


def _thresholds(kind: FindingKind, model: FindingModel, rows: Sequence[Measured]) -> tuple[float, float]:
    """Thresholds of the logit: mild at the highest F1 that keeps false alarms within limits, severe with almost none.

    Skin in dim light at home may be reported as dark, but not as severely dark.
    """
    samples = rows_for(kind, rows, Part.CHOOSE)
    precision, recall, cuts = precision_recall_curve(is_flawed(kind, samples), logits_of(model, samples))
    best = float(cuts[np.argmax((2 * precision * recall / (precision + recall + 1e-9))[:-1])])
    seen = (Part.FIT, Part.CHOOSE)  # false alarms are rare, so both parts are used
    skin = [row for row in rows if row.part in seen and row.source != "clive"]
    scenes = [row for row in rows_for(kind, rows, *seen) if row.source == "clive" and row.variant == "original"]

    def limit(group: Sequence[Measured], share: float) -> float:
        return float(np.quantile(logits_of(model, group), 1 - share))

    mild = max(best, limit([row for row in skin if row.variant in CLEAN], _ALARMS_ON_SKIN[0]))
    severe = max(mild + _MARGINS[0], limit([row for row in skin if row.variant in CLEAN | _LIT], _ALARMS_ON_SKIN[1]))
    if kind in _ABOUT_SKIN:  # on a scene without skin, a finding about skin is not a false alarm
        return mild, severe
    return max(mild, limit(scenes, _ALARMS_ON_SCENES[0])), max(severe, limit(scenes, _ALARMS_ON_SCENES[1]))


def _no_skin_thresholds(model: FindingModel, rows: Sequence[Measured]) -> tuple[float, float]:
    """Logits above all close-ups and nearly all distant skin: a wrong `no_skin` is the worst error."""
    seen = [row for row in rows if row.part is not Part.HELD_OUT]
    close_ups = [row for row in seen if row.source != "clive" and row.variant not in IGNORED[FindingKind.NO_SKIN]]
    far = [row for row in seen if row.variant == "pasted"]
    highest = float(logits_of(model, close_ups).max()) + _MARGINS[0]
    mild = max(highest, float(np.quantile(logits_of(model, far), 1 - _FAR_SKIN_DENIED)))
    return mild, mild + _MARGINS[1]
