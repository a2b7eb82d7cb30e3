"""The plots of an evaluation, each as an SVG element for an HTML page. The same data give the same text."""

import io
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from triage.evaluation.predictions import Predictions
from triage.statistics.auc import Labels, Scores, roc_band, roc_curve

_BLUE: Final = "#1f5f99"
_RED: Final = "#b3402a"
_GREY: Final = "#8a8f98"
_STYLE: Final[Any] = {
    "svg.hashsalt": "triage",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
_MAX_POINTS: Final = 2000
_CUTS_IN_A_ROW: Final = 4


def plot_roc(
    scores: Scores, good: Labels, *, sensitivity: float | None, specificity: float | None, has_band: bool = True
) -> str:
    """The ROC curve with its 95 % band, and the operating point if given."""
    curve = roc_curve(scores, good)
    figure, axes = _figure()
    keep = np.linspace(0, len(curve.sensitivity) - 1, min(len(curve.sensitivity), _MAX_POINTS)).astype(int)
    if has_band:
        band = roc_band(scores, good)
        axes.fill_between(band[0], band[1], band[2], color=_BLUE, alpha=0.18, linewidth=0, label="95 % band")
    axes.plot(curve.false_positive_rate[keep], curve.sensitivity[keep], color=_BLUE, label="ROC")
    axes.plot([0, 1], [0, 1], color=_GREY, linestyle=":", linewidth=0.8)
    if sensitivity is not None and specificity is not None:
        axes.plot([1 - specificity], [sensitivity], "o", color=_RED, label="threshold")
    axes.set(xlabel="bad photos that pass", ylabel="good photos that pass", xlim=(0, 1), ylim=(0, 1.01))
    axes.legend(loc="lower right", frameon=False)
    return _svg(figure, "ROC curve")


def plot_calibration(bins: Sequence[Mapping[str, Any]], before: Sequence[Mapping[str, Any]] | None = None) -> str:
    """Observed against predicted probabilities, with Wilson intervals, and before recalibration if given."""
    figure, axes = _figure()
    _draw_calibration(axes, bins, before)
    axes.set(xlabel="predicted probability of good", ylabel="share that is good", xlim=(0, 1), ylim=(0, 1.01))
    axes.legend(loc="upper left", frameon=False)
    return _svg(figure, "Reliability: the share of good photos by score")


def plot_cuts(cuts: Sequence[Mapping[str, Any]], before: Sequence[Mapping[str, Any]] | None = None) -> str:
    """The calibration of P(votes >= k) for each k side by side, and before recalibration if given."""
    columns = min(len(cuts), _CUTS_IN_A_ROW)
    rows = -(-len(cuts) // columns)
    with rc_context(_STYLE):
        figure = Figure(figsize=(2.1 * columns, 2.2 * rows), layout="constrained")
        FigureCanvasSVG(figure)
        grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for axes in grid.flat[len(cuts) :]:
            axes.set_axis_off()
        for place, (axes, cut) in enumerate(zip(grid.flat, cuts, strict=False)):
            _draw_calibration(axes, cut["bins"], before[place]["bins"] if before else None)
            axes.set(title=f"at least {cut['votes']}", xlim=(0, 1), ylim=(0, 1.01))
        figure.supxlabel("predicted probability", fontsize=9)
        figure.supylabel("share of photos", fontsize=9)
    return _svg(figure, "Reliability of the probability of at least each number of votes")


def _draw_calibration(
    axes: Axes, bins: Sequence[Mapping[str, Any]], before: Sequence[Mapping[str, Any]] | None
) -> None:
    axes.plot([0, 1], [0, 1], color=_GREY, linestyle=":", linewidth=0.8)
    if before:
        axes.plot(
            [b["predicted"] for b in before],
            [b["observed"] for b in before],
            "s--",
            color=_GREY,
            markersize=3,
            linewidth=0.8,
            label="before recalibration",
        )
    observed = np.array([b["observed"] for b in bins])
    ends = np.array([b["interval"] for b in bins]).reshape(len(bins), 2)
    axes.errorbar(
        [b["predicted"] for b in bins],
        observed,
        yerr=np.abs(ends.T - observed),
        fmt="o-",
        color=_BLUE,
        markersize=4,
        linewidth=1,
        capsize=2,
        label="this model",
    )


def plot_scores_by_votes(predictions: Predictions, threshold: float) -> str:
    """The distribution of scores for each number of votes, as boxes, and the threshold."""
    figure, axes = _figure()
    votes = sorted(set(predictions.votes.tolist()))
    axes.boxplot(
        [predictions.scores[predictions.votes == v] for v in votes],
        tick_labels=[f"{v:g}\nn={int((predictions.votes == v).sum())}" for v in votes],
        widths=0.6,
        medianprops={"color": _RED},
        flierprops={"markersize": 2},
    )
    axes.axhline(threshold, color=_GREY, linestyle="--", linewidth=0.8)
    axes.set(xlabel="reviewers who found the photo good", ylabel="score", ylim=(0, 1))
    return _svg(figure, "Scores by votes")


def plot_rocs(curves: Sequence[tuple[Scores, Labels]]) -> str:
    """The ROC curves of two models."""
    figure, axes = _figure()
    for label, (scores, good), color in zip(("first", "second"), curves, (_BLUE, _RED), strict=True):
        curve = roc_curve(scores, good)
        axes.plot(curve.false_positive_rate, curve.sensitivity, color=color, linewidth=1, label=label)
    axes.plot([0, 1], [0, 1], color=_GREY, linestyle=":", linewidth=0.8)
    axes.set(xlabel="1 - specificity", ylabel="sensitivity", xlim=(0, 1), ylim=(0, 1.01))
    axes.legend(loc="lower right", frameon=False)
    return _svg(figure, "ROC curves of two models")


def plot_sweep(rows: Sequence[Mapping[str, Any]], threshold: float) -> str:
    """The rates at every threshold, and the one in use."""
    figure, axes = _figure()
    thresholds = [row["threshold"] for row in rows]
    for name, color, style, label in (
        ("sensitivity", _BLUE, "-", "sensitivity"),
        ("specificity", _RED, "-", "specificity"),
        ("ppv", _BLUE, ":", "PPV"),
        ("needless_retake_share", _RED, ":", "needless share"),
    ):
        values = [np.nan if row[name] is None else row[name] for row in rows]
        axes.plot(thresholds, values, color=color, linestyle=style, linewidth=1, label=label)
    axes.axvline(threshold, color=_GREY, linestyle="--", linewidth=0.8)
    axes.set(xlabel="threshold", ylabel="share", xlim=(0, 1), ylim=(0, 1.01))
    figure.legend(loc="outside upper center", ncols=2, frameon=False, fontsize=8)
    return _svg(figure, "Rates at every threshold")


def plot_learning_curve(epochs: Sequence[Mapping[str, Any]]) -> str:
    """Losses by epoch, and the AUC on validation photos."""
    figure, axes = _figure()
    numbers = [epoch["number"] for epoch in epochs]

    def draw(axes: Axes, name: str, color: str, label: str) -> None:
        axes.plot(numbers, [epoch[name] for epoch in epochs], color=color, marker=".", label=label)  # also one epoch

    draw(axes, "train_loss", _GREY, "training loss")
    if any(epoch["validation_loss"] is not None for epoch in epochs):
        draw(axes, "validation_loss", _BLUE, "validation loss")
    axes.set(xlabel="epoch", ylabel="loss")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if any(epoch["validation_auc"] is not None for epoch in epochs):
        right = axes.twinx()
        draw(right, "validation_auc", _RED, "validation AUC")
        right.set(ylabel="AUC")
    figure.legend(loc="outside upper center", ncols=3, frameon=False, fontsize=8)
    return _svg(figure, "Learning curve")


def _figure() -> tuple[Figure, Axes]:
    with rc_context(_STYLE):
        figure = Figure(figsize=(4.2, 3.4), layout="constrained")
        FigureCanvasSVG(figure)
        return figure, figure.add_subplot()


def _svg(figure: Figure, name: str) -> str:
    """The figure as an SVG element with a name for screen readers."""
    text = io.StringIO()
    with rc_context(_STYLE):
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    document = text.getvalue()
    element = document[document.index("<svg") :]  # without the XML declaration and document type
    return element.replace("<svg", f'<svg role="img" aria-label="{name}"', 1)
