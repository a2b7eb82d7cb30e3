"""The charts of the report as inline SVG: a title and a description for screen readers, patterns beside colours."""

from collections.abc import Sequence
from typing import Any, Final

from markupsafe import Markup

from triage.domain.states import Outcome
from triage.reports.cells import Kind, text_of

_WIDTH: Final = 340
_HEIGHT: Final = 120
_LEFT: Final = 34
_BOTTOM: Final = 100
_TOP: Final = 8
_AXIS: Final = "#5a6270"
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
    """The share of each outcome as one bar."""
    parts, left = [], 0.0
    for name in FILLS:
        width = 680 * messages[name] / messages["total"] if messages["total"] else 0.0
        parts.append(f'<rect x="{left:.1f}" width="{width:.1f}" height="16" fill="{FILLS[name]}"/>')
        left += width
    counts = ", ".join(f"{name.replace('_', ' ')} {messages[name]}" for name in FILLS)
    return _svg("bar", "Messages by outcome", counts, 680, 16, "".join(parts))


def rate_chart(rows: Sequence[dict[str, Any]], key: str) -> Markup:
    """Retake rates over time with their intervals; those without decided messages are left out."""
    shown = [row for row in rows if row["retake_rate"] is not None]
    top = max((row["interval"][1] for row in shown), default=1.0) or 1.0
    step = (_WIDTH - _LEFT - 8) / max(len(shown) - 1, 1)
    points = [(_LEFT + step * number, row) for number, row in enumerate(shown)]
    bars = "".join(
        f'<path d="M{x:.1f} {_y(row["interval"][0], top):.1f}V{_y(row["interval"][1], top):.1f}" '
        f'stroke="{_LINE}" stroke-opacity=".45" stroke-width="3"/>'
        for x, row in points
    )
    line = " ".join(f"{x:.1f},{_y(row['retake_rate'], top):.1f}" for x, row in points)
    dots = "".join(
        f'<circle cx="{x:.1f}" cy="{_y(row["retake_rate"], top):.1f}" r="2" fill="{_LINE}"/>' for x, row in points
    )
    labels = _label(_LEFT, shown[0][key], "start") + _label(_WIDTH, shown[-1][key], "end") if shown else ""
    drawn = f'{bars}<polyline points="{line}" fill="none" stroke="{_LINE}" stroke-width="1.2"/>{dots}{labels}'
    return _chart(
        f"rate-by-{key}",
        f"Retake rate by {key}",
        f"Each {key}'s share of retakes among decided messages, with its 95 % interval. The table has the numbers.",
        text_of(Kind.SHARE, top),
        drawn,
    )


def hour_chart(hours: Sequence[int]) -> Markup:
    """Messages by hour of the day."""
    top = max(hours) or 1
    width = (_WIDTH - _LEFT) / 24
    bars = "".join(
        f'<rect x="{_LEFT + width * hour + 1:.1f}" y="{_y(n, top):.1f}" width="{width - 2:.1f}" '
        f'height="{_BOTTOM - _y(n, top):.1f}" fill="{_LINE}"/>'
        for hour, n in enumerate(hours)
    )
    labels = "".join(_label(_LEFT + width * (hour + 0.5), f"{hour:02}", "middle") for hour in range(0, 24, 6))
    return _chart(
        "hours", "Messages by hour", "Messages received in each hour of the day, UTC.", str(top), bars + labels
    )


def usable_chart(curve: Sequence[dict[str, Any]]) -> Markup:
    """The share of requests with a usable photo over the days since they were sent, as steps with a band."""
    last = curve[-1]["days"]
    across = (_WIDTH - _LEFT - 8) / last
    top = max([0.01, *(point["interval"][1] for point in curve if point["interval"]), curve[-1]["share"]])

    def steps(values: Sequence[float]) -> list[str]:
        drawn = []
        for number, (point, value) in enumerate(zip(curve, values, strict=True)):
            x, y = _LEFT + across * point["days"], _y(value, top)
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
        + _label(_LEFT, "0 days", "start")
        + _label(_WIDTH, f"{last:g} days", "end")
    )
    description = (
        f"After {last:g} days {text_of(Kind.SHARE, curve[-1]['share'])} of the requests had led to a usable photo, by "
        "the Kaplan-Meier estimate; the band is its 95 % interval."
    )
    return _chart("usable", "Time to a usable photo", description, text_of(Kind.SHARE, top), drawn)


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
    top = max(scores["histogram"]) or 1
    width = (_WIDTH - _LEFT) / len(scores["histogram"])
    bars = "".join(
        f'<rect x="{_LEFT + width * bin_ + 1:.1f}" y="{_y(n, top):.1f}" width="{width - 2:.1f}" '
        f'height="{_BOTTOM - _y(n, top):.1f}" fill="{_LINE}"/>'
        for bin_, n in enumerate(scores["histogram"])
    )
    x = _LEFT + (_WIDTH - _LEFT) * scores["threshold"]
    line = f'<path d="M{x:.1f} {_TOP}V{_BOTTOM}" stroke="#b3372f" stroke-width="1.5" stroke-dasharray="4 3"/>'
    labels = _label(_LEFT, "0", "start") + _label(_WIDTH, "1", "end") + _label(x, "threshold", "middle")
    counts = ", ".join(map(str, scores["histogram"]))
    return _chart(
        f"scores-{number}", "Distribution of scores", f"Photos by score: {counts}.", str(top), bars + line + labels
    )


def _y(value: float, top: float) -> float:
    return _BOTTOM - (_BOTTOM - _TOP) * value / top


def _label(x: float, text: object, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{_BOTTOM + 14}" text-anchor="{anchor}">{text}</text>'


def _chart(name: str, title: str, description: str, top: str, drawn: str) -> Markup:
    axes = (
        f'<path d="M{_LEFT} {_TOP}V{_BOTTOM}H{_WIDTH}" fill="none" stroke="{_AXIS}"/>'
        f'<text x="{_LEFT - 3}" y="{_TOP + 7}" text-anchor="end">{top}</text>'
        f'<text x="{_LEFT - 3}" y="{_BOTTOM}" text-anchor="end">0</text>'
    )
    return _svg(name, title, description, _WIDTH, _HEIGHT, axes + drawn)


def _svg(name: str, title: str, description: str, width: int, height: int, drawn: str) -> Markup:
    """All texts are numbers, dates and words of this product, so none needs escaping."""
    return Markup(  # noqa: S704  # made of numbers and of words from this file
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-labelledby="{name}-title {name}-description" '
        f'font-size="9" fill="{_INK}"><title id="{name}-title">{title}</title>'
        f'<desc id="{name}-description">{description}</desc>{drawn}</svg>'
    )
