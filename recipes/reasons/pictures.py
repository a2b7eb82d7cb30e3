"""The reliability plot of `docs/findings.md`, and a sheet of the photos whose reason is wrong in a labeller's eyes."""

import io
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from matplotlib import rc_context
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from PIL import Image, ImageDraw

from recipes.reasons.collecting import Original, key_of
from recipes.reasons.fitting import KINDS
from recipes.reasons.report import LookedAt, seen_in
from triage.evaluation.calibration import CalibrationBin
from triage.imaging.decode import Decoder

_SIDE: Final = 250
_ACROSS: Final = 6
_LINE: Final = 14


def draw_reliability(bins_of: Mapping[str, Sequence[CalibrationBin]]) -> str:
    """An SVG with a panel for each reason: observed against predicted, with Wilson intervals."""
    with rc_context({"svg.hashsalt": "triage", "svg.fonttype": "none", "font.size": 8}):
        figure = Figure(figsize=(10, 4.4), layout="constrained")
        FigureCanvasSVG(figure)
        panels = figure.subplots(2, (len(bins_of) + 1) // 2, sharex=True, sharey=True)
        for panel, (kind, bins) in zip(panels.flat, bins_of.items(), strict=False):
            observed = np.array([each.observed for each in bins])
            ends = np.array([each.interval for each in bins])
            panel.plot([0, 1], [0, 1], ":", color="#8a8f98", linewidth=0.8)
            panel.errorbar(
                [each.predicted for each in bins],
                observed,
                yerr=np.abs(ends.T - observed),
                fmt="o-",
                color="#1f5f99",
                markersize=3,
                linewidth=1,
                capsize=2,
            )
            panel.set(title=kind, xlim=(0, 1), ylim=(0, 1))
        figure.supxlabel("predicted probability")
        figure.supylabel("share with the reason")
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    return text.getvalue()


def draw_errors(looked: LookedAt, originals: Sequence[Original]) -> Image.Image:
    """Photos whose likeliest reason neither look had, the surest first. The sheet shows real photos."""
    paths = {key_of(original): original.path for original in originals}
    errors = [
        (row.max(), key_of(sample), KINDS[row.argmax()], seen_in(seen))
        for sample, seen, row in looked.rows
        if KINDS[row.argmax()] not in seen_in(seen)
    ]
    n_rows = max(1, -(-len(errors) // _ACROSS))
    height = _SIDE + 3 * _LINE
    sheet = Image.new("RGB", (_ACROSS * (_SIDE + 6), n_rows * height), "white")
    draw = ImageDraw.Draw(sheet)
    with Decoder() as decoder:
        for index, (probability, key, named, seen) in enumerate(sorted(errors, key=lambda error: -error[0])):
            photo = decoder.decode(paths[key].read_bytes()).to_image()
            photo.thumbnail((_SIDE, _SIDE))
            left, top = index % _ACROSS * (_SIDE + 6), index // _ACROSS * height
            sheet.paste(photo, (left, top))
            draw.text((left, top + _SIDE), f"named: {named} {probability:.2f}", fill="black")
            draw.text((left, top + _SIDE + _LINE), f"seen: {' '.join(sorted(seen)) or 'good'}", fill="black")
    return sheet
