"""A model's card as one HTML page that stands alone: no script, no external resource."""

from datetime import UTC, datetime
from threading import Lock
from typing import Any, Final

from markupsafe import Markup

from triage.domain.card import Card
from triage.evaluation.model_card import FORMATS, facts_of, readable_evaluations
from triage.evaluation.plots import plot_calibration, plot_cuts, plot_learning_curve
from triage.evaluation.report import ENVIRONMENT

_DRAWING: Final = Lock()
"""Matplotlib's styles are one global for all threads."""


def render_card(card: Card) -> str:
    """Renders a card: data, method, metrics with intervals, subgroups, calibration, limits and versions.

    Raises:
        ModelError: the card has an evaluation that is none.
    """
    with readable_evaluations(card):
        return _render(card)


def _render(card: Card) -> str:
    facts = facts_of(card)
    with _DRAWING:
        plots = {name: _calibration(e) for name, e in facts["evaluations"].items() if e["calibration"]["bins"]}
        learning = plot_learning_curve(facts["card"]["learning_curve"]) if card.learning_curve else None
    return ENVIRONMENT.get_template("model_card.html.j2").render(
        **facts,
        **FORMATS,
        plots={name: Markup(svg) for name, svg in plots.items()},  # noqa: S704  # drawn from numbers alone
        learning=learning and Markup(learning),  # noqa: S704  # drawn from numbers alone
        made_at=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
    )


def _calibration(e: dict[str, Any]) -> str:
    """Of each cut, or of the score where the cuts are not known."""
    before = e.get("calibration_before") or {}
    if cuts := e["calibration"].get("by_cut"):
        return plot_cuts(cuts, before.get("by_cut"))
    return plot_calibration(e["calibration"]["bins"], before.get("bins"))
