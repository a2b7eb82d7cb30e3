"""The frame of a chart as inline SVG: axes, ticks, and a title and a description for screen readers.

The page writes the title of each chart above it. All texts are numbers, dates and words of this product, so none needs
escaping.
"""

import math
from typing import Final

from markupsafe import Markup

from triage.reports.cells import Kind

WIDTH: Final = 340
HEIGHT: Final = 132
LEFT: Final = 40
RIGHT: Final = 332
TOP: Final = 18
BOTTOM: Final = 104
_AXIS: Final = "#5a6270"
_GRID: Final = "#dde1e7"
INK: Final = "#1d2430"
LINE: Final = "#1f4e8c"


def round_up(largest: float) -> float:
    """The end of an axis: 1, 2, 4, 6 or 8 times a power of ten, so that its half is a short number, too."""
    if largest <= 0:
        return 1.0
    unit = 10.0 ** math.floor(math.log10(largest))
    return next((step * unit for step in (1, 2, 4, 6, 8) if step * unit >= largest * (1 - 1e-9)), 10 * unit)


def height_of(value: float, top: float) -> float:
    """The y of a value on an axis that ends at `top`."""
    return BOTTOM - (BOTTOM - TOP) * value / top


def across(share: float) -> float:
    """The x of a share of the width, 0 to 1."""
    return LEFT + (RIGHT - LEFT) * share


def tick(x: float, text: object, anchor: str) -> str:
    """A text below the axis."""
    return f'<text x="{x:.1f}" y="{BOTTOM + 12}" text-anchor="{anchor}">{text}</text>'


def chart(
    name: str, title: str, description: str, axes: tuple[str, str], scale: tuple[float, Kind], drawn: str
) -> Markup:
    """A chart with the names of its axes, and ticks at the top, the middle and the bottom of the scale."""
    top, kind = scale
    ticks = "".join(
        f'<path d="M{LEFT} {height_of(value, top):.1f}H{RIGHT}" stroke="{_GRID}"/>'
        f'<text x="{LEFT - 4}" y="{height_of(value, top) + 3:.1f}" text-anchor="end">{_short(kind, value)}</text>'
        for value in (top, top / 2, 0.0)
    )
    frame = (
        f'<path d="M{LEFT} {TOP}V{BOTTOM}H{RIGHT}" fill="none" stroke="{_AXIS}"/>'
        f'<text x="0" y="10">{axes[0]}</text>'
        f'<text x="{(LEFT + RIGHT) / 2}" y="{HEIGHT - 5}" text-anchor="middle">{axes[1]}</text>'
    )
    return svg(name, title, description, WIDTH, HEIGHT, ticks + drawn + frame)


def _short(kind: Kind, value: float) -> str:
    return f"{100 * value:g} %" if kind is Kind.SHARE else f"{value:g}"


def svg(name: str, title: str, description: str, width: int, height: int, drawn: str) -> Markup:
    """An SVG element with a title and a description, whose ids begin with `name`."""
    return Markup(  # noqa: S704  # made of numbers and of words of this product
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-labelledby="{name}-title {name}-description" '
        f'font-size="9" fill="{INK}"><title id="{name}-title">{title}</title>'
        f'<desc id="{name}-description">{description}</desc>{drawn}</svg>'
    )
