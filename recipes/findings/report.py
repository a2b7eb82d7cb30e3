"""Markdown tables with the results of the findings on held-out photos."""

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from recipes.findings.fitting import CLEAN, IGNORED, MEASURED, is_flawed, logits_of, rows_for
from recipes.findings.measuring import Measured, measure_image
from recipes.findings.photos import Original, Part, read_image, read_path
from triage.domain.photos import Finding
from triage.domain.states import FindingKind, FindingLevel
from triage.findings.rules import FindingModels, findings_of
from triage.imaging.degradation import Degradation, degrade
from triage.samples.drawing import SkinTone, draw_skin_photo

_ABOUT_SKIN: Final = (FindingKind.BADLY_FRAMED, FindingKind.NO_SKIN)
_TECHNICAL: Final = tuple(kind for kind in MEASURED if kind not in _ABOUT_SKIN)
_BLUR: Final = (FindingKind.DEFOCUS, FindingKind.MOTION)
_BLUR_OR_RESOLUTION: Final = (*_BLUR, FindingKind.LOW_RESOLUTION)
_LIGHT: Final = (FindingKind.TOO_DARK, FindingKind.TOO_BRIGHT)
ITA_BINS: Final = (
    ("very light", 55.0, 180.0),
    ("light", 41.0, 55.0),
    ("intermediate", 28.0, 41.0),
    ("tan", 10.0, 28.0),
    ("brown", -30.0, 10.0),
    ("dark", -180.0, -30.0),
)
"""Names of skin tones, from above an individual typology angle to another, in degrees."""
_ACCEPTED_VOTES: Final = 2  # of four, as of patients' photos
_SIZES: Final = (300, 500, 1000, 2000)


class HeldOut:
    """Held-out samples with their findings, and the unchanged scenes with their votes."""

    def __init__(self, rows: Sequence[Measured], models: FindingModels) -> None:
        self.rows = [row for row in rows if row.part is Part.HELD_OUT]
        rated = [row for row in rows if row.votes is not None and row.variant == "original"]
        self.rated = [row for row in rated if row.part is Part.HELD_OUT]
        self.rated_to_fit = [row for row in rated if row.part is Part.FIT]
        self.variants = {row.variant for row in self.rows}
        self.models = models
        self.findings = [findings_of(row.measures, models) for row in self.rows]

    def where(
        self,
        *,
        sources: Collection[str] = ("clive", "pad", "drawn"),
        variant: str | None = None,
        votes: int | None = None,
        tones: Collection[str] | None = None,
        numbers: Collection[int] | None = None,
    ) -> list[tuple[Finding, ...]]:
        """The findings of the samples that match all conditions."""
        return [
            found
            for row, found in zip(self.rows, self.findings, strict=True)
            if row.source in sources
            and (variant is None or row.variant == variant)
            and (votes is None or row.votes == votes)
            and (tones is None or row.tone in tones)
            and (numbers is None or row.number in numbers)
        ]


def tables(held_out: HeldOut, originals: Sequence[Original]) -> dict[str, str]:
    """The tables by the name of their place in the document."""
    held_out_originals = [original for original in originals if original.part is Part.HELD_OUT]
    return {
        "held-out": _held_out(held_out),
        "compared": _compared(held_out),
        "kinds-reported": _kinds_reported(held_out),
        "false-alarms": _false_alarms(held_out),
        "rated": _rated(held_out),
        "tones": _tones(held_out, {original.number: original for original in held_out_originals}),
        "no-skin": _no_skin(held_out),
        "sizes": _sizes(held_out.models, held_out_originals),
    }


def write_tables(document: Path, by_name: dict[str, str]) -> None:
    """Writes each table between its markers, `<!-- NAME -->` and `<!-- /NAME -->`."""
    text = document.read_text(encoding="utf-8")
    for name, table in by_name.items():
        head, opening, rest = text.partition(f"<!-- {name} -->\n")
        _, closing, tail = rest.partition(f"<!-- /{name} -->")
        if not opening or not closing:
            raise ValueError(f"{document} has no place for the table {name}")
        text = f"{head}{opening}\n{table}\n{closing}{tail}"
    document.write_text(text, encoding="utf-8")


def _held_out(held_out: HeldOut) -> str:
    lines = []
    for kind in MEASURED:
        rows = rows_for(kind, held_out.rows, Part.HELD_OUT)
        flawed, logits = is_flawed(kind, rows), logits_of(held_out.models.by_kind[kind], rows)
        levels = [_level(held_out.models, row, kind) for row in rows]
        reported = np.array([level is not None for level in levels])
        severe = np.array([level is FindingLevel.SEVERE for level in levels])
        on_skin = np.array([row.source != "clive" for row in rows])
        against_clean = flawed | np.array([row.variant in CLEAN for row in rows])
        lines.append(
            (
                f"`{kind}`",
                f"{flawed.sum()} / {(~flawed).sum()}",
                f"{(reported & flawed).sum() / max(1, reported.sum()):.2f}",
                f"{reported[flawed].mean():.2f}",
                f"{_f1(reported, flawed):.2f}",
                f"{_f1(reported[on_skin], flawed[on_skin]):.2f}" if flawed[on_skin].any() else "",
                f"{severe[flawed].mean():.2f}",
                f"{roc_auc_score(flawed, logits):.3f}",
                f"{roc_auc_score(flawed[against_clean], logits[against_clean]):.3f}",
            )
        )
    header = ("with / without", "precision", "recall", "F1", "F1 on skin", "recall, severe", "AUC", "AUC against clean")
    return _table(("finding", *header), lines)


def _f1(reported: NDArray[np.bool_], flawed: NDArray[np.bool_]) -> float:
    return float(2 * (reported & flawed).sum() / (reported.sum() + flawed.sum()))


def _compared(held_out: HeldOut) -> str:
    """The AUC of the strongest of several findings, for simulated flaws and for scenes with few votes."""
    degraded = [row for row in held_out.rows if row.votes not in {0, 1, 2}]
    lines = []
    for name, kinds, theirs in (("blur", _BLUR, ".84"), ("lighting", _LIGHT, ".70")):
        rows = [row for row in degraded if row.flaw in kinds or not any(row.variant in IGNORED[kind] for kind in kinds)]
        lines.append((f"{name}, self-made, against all else", *_auc_of_flaws(held_out.models, rows, kinds), theirs))
    rows = [row for row in degraded if row.flaw in _TECHNICAL or (row.variant in CLEAN and row.source != "drawn")]
    lines.append(("any, self-made, against clean", *_auc_of_flaws(held_out.models, rows, _TECHNICAL), ".78"))

    fit, tested = (_logits_by_kind(held_out.models, rows) for rows in (held_out.rated_to_fit, held_out.rated))
    weighed = LogisticRegression(C=0.05).fit(fit, _is_rejected(held_out.rated_to_fit))
    rejected = _is_rejected(held_out.rated)
    for name, strength in (
        ("blur or resolution", tested[:, [_TECHNICAL.index(kind) for kind in _BLUR_OR_RESOLUTION]].max(axis=1)),
        ("any", tested.max(axis=1)),
        ("all, weighed for people's votes", weighed.decision_function(tested)),
    ):
        lines.append((f"{name}: rejected by people, against other scenes", *_auc(rejected, strength), ".78"))
    return _table(("flaw", "with / without", "AUC", "TrueImage 2.0"), lines)


def _auc_of_flaws(models: FindingModels, rows: Sequence[Measured], kinds: Sequence[FindingKind]) -> tuple[str, str]:
    strongest = np.max([logits_of(models.by_kind[kind], rows) for kind in kinds], axis=0)
    return _auc(np.array([row.flaw in kinds for row in rows]), strongest)


def _auc(flawed: NDArray[np.bool_], strength: NDArray[np.float64]) -> tuple[str, str]:
    return f"{flawed.sum()} / {(~flawed).sum()}", f"{roc_auc_score(flawed, strength):.3f}"


def _logits_by_kind(models: FindingModels, rows: Sequence[Measured]) -> NDArray[np.float64]:
    return np.stack([logits_of(models.by_kind[kind], rows) for kind in _TECHNICAL], axis=1)


def _is_rejected(rows: Sequence[Measured]) -> NDArray[np.bool_]:
    return np.array([row.votes is not None and row.votes < _ACCEPTED_VOTES for row in rows])


def _level(models: FindingModels, row: Measured, kind: FindingKind) -> FindingLevel | None:
    return next((f.level for f in findings_of(row.measures, models) if f.kind is kind), None)


def _kinds_reported(held_out: HeldOut) -> str:
    lines = []
    variants = dict.fromkeys(
        row.variant for row in held_out.rows if row.source != "drawn" and row.votes not in {0, 1, 2}
    )
    for variant in variants:
        findings = held_out.where(sources=["pad"], variant=variant)
        lines.append(
            (variant.replace("_", " "), str(len(findings)), *(_percent(_has(findings, kind)) for kind in MEASURED))
        )
    return _table(("skin photos", "n", *(f"`{kind}`" for kind in MEASURED)), lines)


def _false_alarms(held_out: HeldOut) -> str:
    best = held_out.where(variant="original", votes=4)
    skin = held_out.where(sources=["pad"], variant="original")
    lines: list[tuple[str, ...]] = []
    for kind in MEASURED:
        of_scenes = kind in _TECHNICAL  # on a scene without skin, a finding about skin is not a false alarm
        lines.append(
            (
                f"`{kind}`",
                *(_percent(_has(best, kind, level)) if of_scenes else "" for level in (None, FindingLevel.SEVERE)),
                *(_percent(_has(skin, kind, level)) for level in (None, FindingLevel.SEVERE)),
            )
        )
    for name, kinds in (("any of light, blur, resolution, colour", _TECHNICAL), ("any", tuple(FindingKind))):
        cells = [
            _percent(_any(findings, kinds, level)) for findings in (best, skin) for level in (None, FindingLevel.SEVERE)
        ]
        if kinds != _TECHNICAL:
            cells[:2] = ["", ""]
        lines.append((name, *cells))
    scenes, close_ups = f"scenes with 4 votes (n = {len(best)})", f"skin photos as they are (n = {len(skin)})"
    return _table(("finding", f"{scenes}, any level", "severe", f"{close_ups}, any level", "severe"), lines)


def _rated(held_out: HeldOut) -> str:
    lines = []
    for votes in range(5):
        findings = held_out.where(variant="original", votes=votes)
        cells = [_percent(_any(findings, _TECHNICAL, level)) for level in (None, FindingLevel.SEVERE)]
        lines.append((str(votes), str(len(findings)), *cells, *(_percent(_has(findings, kind)) for kind in _TECHNICAL)))
    return _table(("votes", "n", "any finding", "a severe one", *(f"`{kind}`" for kind in _TECHNICAL)), lines)


def _tones(held_out: HeldOut, originals: dict[int, Original]) -> str:
    lines: list[tuple[str, ...]] = []

    def add(name: str, findings: Sequence[tuple[Finding, ...]]) -> None:
        if findings:
            reported = (
                _has(findings, kind) for kind in (FindingKind.NO_SKIN, FindingKind.TOO_DARK, FindingKind.TOO_BRIGHT)
            )
            cells = (
                *reported,
                _any(findings, tuple(FindingKind)),
                _any(findings, tuple(FindingKind), FindingLevel.SEVERE),
            )
            lines.append((name, str(len(findings)), *(_percent(cell) for cell in cells)))

    ita = {number: typology_angle(original.path) for number, original in originals.items() if original.source == "pad"}
    for name, lower, upper in ITA_BINS:
        numbers = {number for number, angle in ita.items() if lower < angle <= upper}
        add(f"as they are, ITA {name}", held_out.where(sources=["pad"], variant="original", numbers=numbers))
    for source, variant, how in (("pad", "tone", "recoloured to"), ("drawn", "original", "drawn,")):
        for tone in SkinTone:
            add(f"{how} tone {tone.name}", held_out.where(sources=[source], variant=variant, tones=[tone.name]))
    for source, how in (("pad", "recoloured"), ("drawn", "drawn")):
        for light in ("warm", "cold", "dim"):
            for tones in (("I", "II", "III"), ("IV", "V", "VI")):
                findings = held_out.where(sources=[source], variant=light, tones=tones)
                add(f"{how}, tones {tones[0]}-{tones[-1]}, {light} light", findings)
    return _table(("skin photos", "n", "`no_skin`", "`too_dark`", "`too_bright`", "any finding", "a severe one"), lines)


def _no_skin(held_out: HeldOut) -> str:
    numbers = {row.number for row in held_out.rows if row.flaw is FindingKind.NO_SKIN}
    near = [held_out.where(sources=["pad", "drawn"], variant=variant) for variant in held_out.variants - {"pasted"}]
    groups = (
        ("scenes without skin", held_out.where(sources=["clive"], variant="original", numbers=numbers)),
        ("close-ups of skin, degraded or not", [found for findings in near for found in findings]),
        ("skin small or cut off, original tone", held_out.where(variant="pasted", tones=[""])),
        ("skin small or cut off, tones III and IV", held_out.where(variant="pasted", tones=["III", "IV"])),
        ("skin small or cut off, tones V and VI", held_out.where(variant="pasted", tones=["V", "VI"])),
    )
    lines = [(name, str(len(findings)), *_no_skin_cells(findings)) for name, findings in groups]
    return _table(("photos", "n", "`no_skin`", "severe", "`badly_framed`", "either"), lines)


def _no_skin_cells(findings: Sequence[tuple[Finding, ...]]) -> tuple[str, ...]:
    severe = _has(findings, FindingKind.NO_SKIN, FindingLevel.SEVERE)
    kinds = (FindingKind.NO_SKIN, FindingKind.BADLY_FRAMED)
    return (
        _percent(_has(findings, kinds[0])),
        _percent(severe),
        _percent(_has(findings, kinds[1])),
        _percent(_any(findings, kinds)),
    )


def _sizes(models: FindingModels, originals: Iterable[Original]) -> str:
    """Drawn photos and large photos of skin at several sizes, with blur in proportion to the side."""
    lines = []
    large = [original for original in originals if original.source == "pad" and min(read_image(original).size) >= 600]
    drawn = [draw_skin_photo(400 + s, tone=t, size=(2000, 2000)) for s in range(2) for t in SkinTone]
    native = [read_image(original) for original in large]
    sets = (("drawn", drawn), ("native skin", native))
    for name, photos in sets:
        for strength in (0.0, 0.1, 0.2, 0.35, 0.65, 0.95):
            degraded = [degrade(photo, Degradation.DEFOCUS, strength) if strength else photo for photo in photos]
            cells = [_percent(_defocus_at(models, degraded, size)) for size in _SIZES]
            cells.append(_percent(_defocus_at(models, degraded, None)))
            lines.append((name, str(len(photos)), f"{1.5 * strength:.2f} %", *cells))
    header = ("photos", "n", "blur, share of the side", *(f"at {size} px" for size in _SIZES), "at its own size")
    return _table(header, lines)


def _defocus_at(models: FindingModels, photos: Sequence[Image.Image], size: int | None) -> float:
    found = []
    for photo in photos:
        image = (
            photo if size is None or max(photo.size) <= size else photo.resize((size, size), Image.Resampling.BICUBIC)
        )
        found.append(findings_of(measure_image(image, models.skin_colour), models))
    return _has(found, FindingKind.DEFOCUS)


def typology_angle(path: Path) -> float:
    """Individual typology angle of the centre's median, in degrees: arctan((L* - 50) / b*), Chardon et al. 1991.

    The light is not standardised, so it orders photos and is not a measure of anybody's skin.
    """
    pixels = np.asarray(read_path(path).resize((64, 64)), np.float64)[16:48, 16:48].reshape(-1, 3)
    share = np.median(pixels, axis=0) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    _, y, z = np.cbrt(np.maximum(to_xyz @ linear / np.array([0.9505, 1.0, 1.089]), 0.008856))
    return float(np.degrees(np.arctan2(116 * y - 16 - 50, 200 * (y - z))))


def _has(findings: Sequence[tuple[Finding, ...]], kind: FindingKind, level: FindingLevel | None = None) -> float:
    return _any(findings, (kind,), level)


def _any(
    findings: Sequence[tuple[Finding, ...]], kinds: Sequence[FindingKind], level: FindingLevel | None = None
) -> float:
    if not findings:
        return float("nan")
    hits = [any(f.kind in kinds and (level is None or f.level is level) for f in found) for found in findings]
    return float(np.mean(hits))


def _percent(share: float) -> str:
    return "" if np.isnan(share) else f"{100 * share:.1f} %" if 0 < share < 0.1 else f"{100 * share:.0f} %"


def _table(header: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    rows = [header, ["---"] * len(header), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n"
