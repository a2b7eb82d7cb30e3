"""The charts of the report as inline SVG, in the frame of `triage.reports.axes`: patterns beside colours."""

from collections.abc import Sequence
from datetime import date
from typing import Any, Final

from markupsafe import Markup

from triage.domain.states import Outcome
from triage.reports.axes import (
    BOTTOM,
    HEIGHT,
    LEFT,
    LINE,
    RIGHT,
    TOP,
    WIDTH,
    across,
    chart,
    height_of,
    round_up,
    svg,
    tick,
)
from triage.reports.cells import Kind, text_of

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
    return svg("bar", "Messages by outcome", counts, 680, 16, "".join(parts))


def rate_chart(rows: Sequence[dict[str, Any]], key: str) -> Markup:
    """Retake rates over time with their intervals, of at least one day or week with decided messages."""
    shown = [row for row in rows if row["retake_rate"] is not None]
    top = round_up(max(row["interval"][1] for row in shown))
    first, last = (date.fromisoformat(row[key]).toordinal() for row in (shown[0], shown[-1]))
    places = [
        (date.fromisoformat(row[key]).toordinal() - first) / (last - first) if last > first else 0.5 for row in shown
    ]
    points = [(across(place), row) for place, row in zip(places, shown, strict=True)]
    bars = "".join(
        f'<path d="M{x:.1f} {height_of(row["interval"][0], top):.1f}V{height_of(row["interval"][1], top):.1f}" '
        f'stroke="{LINE}" stroke-opacity=".45" stroke-width="3"/>'
        for x, row in points
    )
    line = " ".join(f"{x:.1f},{height_of(row['retake_rate'], top):.1f}" for x, row in points)
    dots = "".join(
        f'<circle cx="{x:.1f}" cy="{height_of(row["retake_rate"], top):.1f}" r="2" fill="{LINE}"/>' for x, row in points
    )
    labels = tick(LEFT, shown[0][key], "start") + tick(RIGHT, shown[-1][key], "end")
    if last == first:
        labels = tick(across(0.5), shown[0][key], "middle")
    drawn = f'{bars}<polyline points="{line}" fill="none" stroke="{LINE}" stroke-width="1.2"/>{dots}{labels}'
    return chart(
        f"rate-by-{key}",
        f"Retake rate by {key}",
        f"Each {key}'s share of retakes among decided messages, with its 95 % interval. The table has the numbers.",
        ("retake rate", key),
        (top, Kind.SHARE),
        drawn,
    )


def hour_chart(hours: Sequence[int]) -> Markup:
    """Messages by hour of the day."""
    top = round_up(max(hours))
    labels = "".join(tick(across((hour + 0.5) / 24), f"{hour:02}", "middle") for hour in range(0, 24, 6))
    return chart(
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
    top = round_up(max([0.01, *(point["interval"][1] for point in curve if point["interval"]), curve[-1]["share"]]))

    def steps(values: Sequence[float]) -> list[str]:
        drawn = []
        for number, (point, value) in enumerate(zip(curve, values, strict=True)):
            x, y = across(point["days"] / last), height_of(value, top)
            if number:
                drawn.append(f"{x:.1f},{height_of(values[number - 1], top):.1f}")
            drawn.append(f"{x:.1f},{y:.1f}")
        return drawn

    low = steps([point["interval"][0] if point["interval"] else point["share"] for point in curve])
    high = steps([point["interval"][1] if point["interval"] else point["share"] for point in curve])
    line = steps([point["share"] for point in curve])
    drawn = (
        f'<polygon points="{" ".join(high + low[::-1])}" fill="{_BAND}"/>'
        f'<polyline points="{" ".join(line)}" fill="none" stroke="{LINE}" stroke-width="1.5"/>'
        + tick(LEFT, "0", "middle")
        + tick(RIGHT, f"{last:g}", "middle")
    )
    description = (
        f"After {last:g} days {text_of(Kind.SHARE, curve[-1]['share'])} of the requests had led to a usable photo, by "
        "the Kaplan-Meier estimate; the band is its 95 % interval."
    )
    axes = ("with a usable photo", "days since the request was sent")
    return chart("usable", "Time to a usable photo", description, axes, (top, Kind.SHARE), drawn)


def funnel_chart(steps: Sequence[tuple[str, int]]) -> Markup:
    """Counts that follow from each other, as bars."""
    top = max((n for _, n in steps), default=0) or 1
    height = (BOTTOM - TOP) / max(len(steps), 1)
    drawn = "".join(
        f'<rect x="90" y="{TOP + height * number + 3:.1f}" width="{(WIDTH - 140) * n / top:.1f}" '
        f'height="{height - 6:.1f}" fill="{LINE}"/>'
        f'<text x="86" y="{TOP + height * (number + 0.5) + 3:.1f}" text-anchor="end">{name}</text>'
        f'<text x="{94 + (WIDTH - 140) * n / top:.1f}" y="{TOP + height * (number + 0.5) + 3:.1f}">{n}</text>'
        for number, (name, n) in enumerate(steps)
    )
    described = ", ".join(f"{name} {n}" for name, n in steps)
    return svg("funnel", "From request to usable photo", described, WIDTH, HEIGHT, drawn)


def score_chart(number: int, scores: dict[str, Any]) -> Markup:
    """The scores of one model in ten bins, and its threshold unless its card is malformed."""
    top = round_up(max(scores["histogram"]))
    labels = tick(LEFT, "0", "middle") + tick(RIGHT, "1", "middle")
    counts = ", ".join(map(str, scores["histogram"]))
    return chart(
        f"scores-{number}",
        "Distribution of scores",
        f"Photos by score: {counts}.",
        ("photos", "score"),
        (top, Kind.COUNT),
        _bars(scores["histogram"], top) + _threshold(scores["threshold"]) + labels,
    )


def _threshold(threshold: float | None) -> str:
    if threshold is None:
        return ""
    x = across(threshold)
    line = f'<path d="M{x:.1f} {TOP}V{BOTTOM}" stroke="#b3372f" stroke-width="1.5" stroke-dasharray="4 3"/>'
    anchor, side = ("end", -4) if threshold > 0.7 else ("start", 4)
    return line + f'<text x="{x + side:.1f}" y="{TOP - 4}" text-anchor="{anchor}">threshold</text>'


def _bars(counts: Sequence[int], top: float) -> str:
    width = (RIGHT - LEFT) / len(counts)
    return "".join(
        f'<rect x="{LEFT + width * place + 1:.1f}" y="{height_of(n, top):.1f}" width="{width - 2:.1f}" '
        f'height="{BOTTOM - height_of(n, top):.1f}" fill="{LINE}"/>'
        for place, n in enumerate(counts)
    )
