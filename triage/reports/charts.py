"""The charts of the report as inline SVG: a title and a description for screen readers, patterns beside colours.

The page writes the title of each chart above it. All texts are numbers, dates and words of this product, so none needs
escaping.
"""

import math
from collections.abc import Sequence
from datetime import date
from typing import Any, Final

from markupsafe import Markup

from triage.domain.states import Outcome
from triage.reports.cells import Kind, text_of

_WIDTH: Final = 340
_HEIGHT: Final = 132
_LEFT: Final = 40
_RIGHT: Final = 332
_TOP: Final = 18
_BOTTOM: Final = 104
_AXIS: Final = "#5a6270"
_GRID: Final = "#dde1e7"
_INK: Final = "#1d2430"
_LINE: Final = "#1f4e8c"
_BAND: Final = "#c9d8ee"

PATTERNS: Final = Markup(
    '<svg width="0" height="0" aria-hidden="true" focusable="false" style="position:absolute"><defs>'
    '<pattern id="retake" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
    '<rect width="6" height="6" fill="#b3372f"/><rect width="2" height="6" fill="#fff"/></pattern>'
    '<pattern id="uncertain" width="6" height="6" patternUnits="userSpaceOnUse">'
    '<rect width="6" height="6" fill="#a87600"/><circle cx="3" cy="3" r="1.3" fill="#fff"/></pattern>'
    '<pattern id="not_assessable" width="6" height="6" patternUnits="userSpaceOnUse">'
    '<rect width="6" height="6" fill="#6d4a8f"/><path d="M0 3h6" stroke="#fff"/></pattern>'
    '<pattern id="pending" width="5" height="5" patternUnits="userSpaceOnUse">'
    '<rect width="5" height="5" fill="#fff"/><path d="M0 0l5 5M5 0l-5 5" stroke="#5a6270" stroke-width=".7"/></pattern>'
    "</defs></svg>"
)
"""The patterns that charts and their keys refer to, once for the page."""

FILLS: Final = {Outcome.PASS.value: "#2e7d4f"} | {
    name: f"url(#{name})" for name in ("retake", "uncertain", "not_assessable", "pending")
}


def outcome_bar(messages: dict[str, Any]) -> Markup:
    """The share of each outcome as one bar, of at least one message."""
    parts, left = [], 0.0
    for name in FILLS:
        width = 680 * messages[name] / messages["total"]
        parts.append(f'<rect x="{left:.1f}" width="{width:.1f}" height="16" fill="{FILLS[name]}"/>')
        left += width
    counts = ", ".join(f"{name.replace('_', ' ')} {messages[name]}" for name in FILLS)
    return _svg("bar", "Messages by outcome", counts, 680, 16, "".join(parts))


def rate_chart(rows: Sequence[dict[str, Any]], key: str) -> Markup:
    """Retake rates over time with their intervals, of at least one day or week with decided messages."""
    shown = [row for row in rows if row["retake_rate"] is not None]
    top = _round_up(max(row["interval"][1] for row in shown))
    first, last = (date.fromisoformat(row[key]).toordinal() for row in (shown[0], shown[-1]))
    places = [
        (date.fromisoformat(row[key]).toordinal() - first) / (last - first) if last > first else 0.5 for row in shown
    ]
    points = [(_across(place), row) for place, row in zip(places, shown, strict=True)]
    bars = "".join(
        f'<path d="M{x:.1f} {_y(row["interval"][0], top):.1f}V{_y(row["interval"][1], top):.1f}" '
        f'stroke="{_LINE}" stroke-opacity=".45" stroke-width="3"/>'
        for x, row in points
    )
    line = " ".join(f"{x:.1f},{_y(row['retake_rate'], top):.1f}" for x, row in points)
    dots = "".join(
        f'<circle cx="{x:.1f}" cy="{_y(row["retake_rate"], top):.1f}" r="2" fill="{_LINE}"/>' for x, row in points
    )
    labels = _tick(_LEFT, shown[0][key], "start") + _tick(_RIGHT, shown[-1][key], "end")
    if last == first:
        labels = _tick(_across(0.5), shown[0][key], "middle")
    drawn = f'{bars}<polyline points="{line}" fill="none" stroke="{_LINE}" stroke-width="1.2"/>{dots}{labels}'
    return _chart(
        f"rate-by-{key}",
        f"Retake rate by {key}",
        f"Each {key}'s share of retakes among decided messages, with its 95 % interval. The table has the numbers.",
        ("retake rate", key),
        (top, Kind.SHARE),
        drawn,
    )


def hour_chart(hours: Sequence[int]) -> Markup:
    """Messages by hour of the day."""
    top = _round_up(max(hours))
    labels = "".join(_tick(_across((hour + 0.5) / 24), f"{hour:02}", "middle") for hour in range(0, 24, 6))
    return _chart(
        "hours",
        "Messages by hour",
        "Messages received in each hour of the day, UTC.",
        ("messages", "hour, UTC"),
        (top, Kind.COUNT),
        _bars(hours, top) + labels,
    )


def usable_chart(curve: Sequence[dict[str, Any]]) -> Markup:
    """The share of requests with a usable photo over the days since they were sent, as steps with a band."""
    last = curve[-1]["days"]
    top = _round_up(max([0.01, *(point["interval"][1] for point in curve if point["interval"]), curve[-1]["share"]]))

    def steps(values: Sequence[float]) -> list[str]:
        drawn = []
        for number, (point, value) in enumerate(zip(curve, values, strict=True)):
            x, y = _across(point["days"] / last), _y(value, top)
            if number:
                drawn.append(f"{x:.1f},{_y(values[number - 1], top):.1f}")
            drawn.append(f"{x:.1f},{y:.1f}")
        return drawn

    low = steps([point["interval"][0] if point["interval"] else point["share"] for point in curve])
    high = steps([point["interval"][1] if point["interval"] else point["share"] for point in curve])
    line = steps([point["share"] for point in curve])
    drawn = (
        f'<polygon points="{" ".join(high + low[::-1])}" fill="{_BAND}"/>'
        f'<polyline points="{" ".join(line)}" fill="none" stroke="{_LINE}" stroke-width="1.5"/>'
        + _tick(_LEFT, "0", "middle")
        + _tick(_RIGHT, f"{last:g}", "middle")
    )
    description = (
        f"After {last:g} days {text_of(Kind.SHARE, curve[-1]['share'])} of the requests had led to a usable photo, by "
        "the Kaplan-Meier estimate; the band is its 95 % interval."
    )
    axes = ("with a usable photo", "days since the request was sent")
    return _chart("usable", "Time to a usable photo", description, axes, (top, Kind.SHARE), drawn)


def funnel_chart(steps: Sequence[tuple[str, int]]) -> Markup:
    """Counts that follow from each other, as bars."""
    top = max((n for _, n in steps), default=0) or 1
    height = (_BOTTOM - _TOP) / max(len(steps), 1)
    drawn = "".join(
        f'<rect x="90" y="{_TOP + height * number + 3:.1f}" width="{(_WIDTH - 140) * n / top:.1f}" '
        f'height="{height - 6:.1f}" fill="{_LINE}"/>'
        f'<text x="86" y="{_TOP + height * (number + 0.5) + 3:.1f}" text-anchor="end">{name}</text>'
        f'<text x="{94 + (_WIDTH - 140) * n / top:.1f}" y="{_TOP + height * (number + 0.5) + 3:.1f}">{n}</text>'
        for number, (name, n) in enumerate(steps)
    )
    described = ", ".join(f"{name} {n}" for name, n in steps)
    return _svg("funnel", "From request to usable photo", described, _WIDTH, _HEIGHT, drawn)


def score_chart(number: int, scores: dict[str, Any]) -> Markup:
    """The scores of one model in ten bins, and its threshold."""
    top = _round_up(max(scores["histogram"]))
    x = _across(scores["threshold"])
    line = f'<path d="M{x:.1f} {_TOP}V{_BOTTOM}" stroke="#b3372f" stroke-width="1.5" stroke-dasharray="4 3"/>'
    anchor = "end" if scores["threshold"] > 0.7 else "start"
    name = (
        f'<text x="{x + (4 if anchor == "start" else -4):.1f}" y="{_TOP - 4}" text-anchor="{anchor}">threshold</text>'
    )
    labels = _tick(_LEFT, "0", "middle") + _tick(_RIGHT, "1", "middle")
    counts = ", ".join(map(str, scores["histogram"]))
    return _chart(
        f"scores-{number}",
        "Distribution of scores",
        f"Photos by score: {counts}.",
        ("photos", "score"),
        (top, Kind.COUNT),
        _bars(scores["histogram"], top) + line + name + labels,
    )


def _bars(counts: Sequence[int], top: float) -> str:
    width = (_RIGHT - _LEFT) / len(counts)
    return "".join(
        f'<rect x="{_LEFT + width * place + 1:.1f}" y="{_y(n, top):.1f}" width="{width - 2:.1f}" '
        f'height="{_BOTTOM - _y(n, top):.1f}" fill="{_LINE}"/>'
        for place, n in enumerate(counts)
    )


def _round_up(largest: float) -> float:
    """The end of an axis: 1, 2, 4, 6 or 8 times a power of ten, so that its half is a short number, too."""
    if largest <= 0:
        return 1.0
    unit = 10.0 ** math.floor(math.log10(largest))
    return next((step * unit for step in (1, 2, 4, 6, 8) if step * unit >= largest * (1 - 1e-9)), 10 * unit)


def _y(value: float, top: float) -> float:
    return _BOTTOM - (_BOTTOM - _TOP) * value / top


def _across(share: float) -> float:
    return _LEFT + (_RIGHT - _LEFT) * share


def _tick(x: float, text: object, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{_BOTTOM + 12}" text-anchor="{anchor}">{text}</text>'


def _chart(
    name: str, title: str, description: str, axes: tuple[str, str], scale: tuple[float, Kind], drawn: str
) -> Markup:
    """A chart with the names of its axes, and ticks at the top, the middle and the bottom of the scale."""
    top, kind = scale
    ticks = "".join(
        f'<path d="M{_LEFT} {_y(value, top):.1f}H{_RIGHT}" stroke="{_GRID}"/>'
        f'<text x="{_LEFT - 4}" y="{_y(value, top) + 3:.1f}" text-anchor="end">{_short(kind, value)}</text>'
        for value in (top, top / 2, 0.0)
    )
    frame = (
        f'<path d="M{_LEFT} {_TOP}V{_BOTTOM}H{_RIGHT}" fill="none" stroke="{_AXIS}"/>'
        f'<text x="0" y="10">{axes[0]}</text>'
        f'<text x="{(_LEFT + _RIGHT) / 2}" y="{_HEIGHT - 5}" text-anchor="middle">{axes[1]}</text>'
    )
    return _svg(name, title, description, _WIDTH, _HEIGHT, ticks + drawn + frame)


def _short(kind: Kind, value: float) -> str:
    return f"{100 * value:g} %" if kind is Kind.SHARE else f"{value:g}"


def _svg(name: str, title: str, description: str, width: int, height: int, drawn: str) -> Markup:
    return Markup(  # noqa: S704  # made of numbers and of words from this file
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-labelledby="{name}-title {name}-description" '
        f'font-size="9" fill="{_INK}"><title id="{name}-title">{title}</title>'
        f'<desc id="{name}-description">{description}</desc>{drawn}</svg>'
    )
