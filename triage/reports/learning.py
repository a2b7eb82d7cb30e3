"""The learning curve of a training: losses and AUC by epoch as charts, and a page with the numbers in a table."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from itertools import groupby
from typing import Any, Final

from markupsafe import Markup, escape

from triage.domain.runs import Run
from triage.reports.axes import LEFT, LINE, RIGHT, TOP, across, chart, height_of, round_up, tick
from triage.reports.cells import Kind
from triage.reports.pages import ENVIRONMENT

_STROKES: Final = ((LINE, "none"), ("#b3372f", "5 3"))
"""Colour and dashes of the first and the second line of a chart."""

_MOST_DOTS: Final = 60


@dataclass(frozen=True, slots=True)
class CurveWords:
    """The words of the charts in the language of the page, as plain text."""

    loss: str = "loss"
    training: str = "training"
    validation: str = "validation"
    auc: str = "AUC on validation photos"
    epoch: str = "epoch"
    table: str = "The table has the numbers."

    def escaped(self) -> "CurveWords":
        """The words as HTML."""
        return CurveWords(*(escape(getattr(self, word.name)) for word in fields(self)))


_ENGLISH: Final = CurveWords()


def learning_charts(epochs: Sequence[Mapping[str, Any]], words: CurveWords = _ENGLISH) -> list[Markup]:
    """Draws the losses of a training, and its AUC where there are good and bad validation photos.

    Args:
        epochs: the finished ones, oldest first, as `Run.epochs`.
        words: of the charts.
    """
    w = words.escaped()
    losses = [
        (name, _values(epochs, key)) for name, key in ((w.training, "train_loss"), (w.validation, "validation_loss"))
    ]
    losses = [(name, values) for name, values in losses if _known(values)]
    areas = _values(epochs, "validation_auc")
    drawn = []
    if losses:
        top = round_up(max(value for _, values in losses for value in _known(values)))
        drawn.append(_line_chart("loss", w.loss, w, losses, top))
    if _known(areas):
        drawn.append(_line_chart("auc", w.auc, w, [(w.auc, areas)], 1.0))
    return drawn


def render_run_html(run: Run) -> str:
    """Renders a training run as an HTML page without scripts or external resources."""
    return ENVIRONMENT.get_template("run.html.j2").render(
        run=run,
        parameters=dict(run.parameters),
        model=dict(run.parameters).get("name"),
        charts=learning_charts(run.epochs),
        made_at=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
    )


def _line_chart(
    name: str, title: str, words: CurveWords, lines: Sequence[tuple[str, Sequence[float | None]]], top: float
) -> Markup:
    drawn, described = [], []
    for index, (label, values) in enumerate(lines):
        color, dashes = _STROKES[index]
        for points in _pieces(values):
            at = [(_x(number, len(values)), height_of(value, top)) for number, value in points]
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in at)
            stroke = f'stroke="{color}" stroke-width="1.4" stroke-dasharray="{dashes}"'
            drawn.append(f'<polyline points="{path}" fill="none" {stroke}/>')
            if len(values) <= _MOST_DOTS:
                drawn += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="1.8" fill="{color}"/>' for x, y in at]
        if len(lines) > 1:
            y = TOP - 14 + 10 * index
            drawn.append(
                f'<path d="M{RIGHT - 70} {y}h18" stroke="{color}" stroke-width="1.4" stroke-dasharray="{dashes}"/>'
                f'<text x="{RIGHT - 48}" y="{y + 3}">{label}</text>'
            )
        known = _known(values)
        described.append(f"{label}: {known[0]:.4f} – {known[-1]:.4f}.")  # noqa: RUF001  # a range
    n_epochs = len(lines[0][1])
    ticks = (
        tick(LEFT, 1, "middle") + tick(RIGHT, n_epochs, "middle") if n_epochs > 1 else tick(across(0.5), 1, "middle")
    )
    description = " ".join([*described, words.table])
    return chart(name, title, description, (title, words.epoch), (top, Kind.NUMBER), "".join(drawn) + ticks)


def _x(number: int, n_epochs: int) -> float:
    return across((number - 1) / (n_epochs - 1) if n_epochs > 1 else 0.5)


def _values(epochs: Sequence[Mapping[str, Any]], key: str) -> list[float | None]:
    return [epoch.get(key) for epoch in epochs]


def _known(values: Sequence[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _pieces(values: Sequence[float | None]) -> Iterator[list[tuple[int, float]]]:
    """The runs of known values, as (epoch, value)."""
    numbered = enumerate(values, start=1)
    for is_known, group in groupby(numbered, key=lambda point: point[1] is not None):
        if is_known:
            yield [(number, value) for number, value in group if value is not None]
