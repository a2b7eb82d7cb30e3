"""An evaluation as one HTML page for clinicians: no script, no external resource."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from triage.domain.text import printable_value
from triage.evaluation.comparison import Candidate
from triage.evaluation.plots import (
    plot_calibration,
    plot_cuts,
    plot_learning_curve,
    plot_roc,
    plot_rocs,
    plot_scores_by_votes,
    plot_sweep,
)
from triage.evaluation.predictions import Predictions

ENVIRONMENT: Final = Environment(
    loader=PackageLoader("triage.evaluation"),
    autoescape=True,
    finalize=printable_value,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


@dataclass(frozen=True, slots=True)
class GalleryPhoto:
    """A photo to look at. The thumbnail is a JPEG without the metadata of the photo."""

    name: str = field(repr=False)
    thumbnail: bytes = field(repr=False)
    score: float
    votes: str

    @property
    def data_uri(self) -> str:
        return f"data:image/jpeg;base64,{base64.b64encode(self.thumbnail).decode()}"


def render_evaluation(
    evaluation: Mapping[str, Any],
    predictions: Predictions,
    *,
    title: str,
    data: str,
    card: Mapping[str, Any] | None = None,
    galleries: Mapping[str, Sequence[GalleryPhoto]] | None = None,
) -> str:
    """Renders an evaluation as HTML.

    Args:
        evaluation: from `triage.evaluation.evaluate.evaluate`.
        predictions: the evaluated ones, for the plots.
        title: of the page.
        data: a short description of the photos.
        card: of the model, as JSON, for its learning curve and its origin.
        galleries: photos by title. The page then holds photos of patients, and says so.
    """
    good = predictions.good(evaluation["good_votes"])
    plots = {
        "calibration": plot_calibration(
            evaluation["calibration"]["bins"], (evaluation.get("calibration_before") or {}).get("bins")
        ),
        "scores": plot_scores_by_votes(predictions, evaluation["threshold"]),
    }
    before = evaluation.get("calibration_before") or {}
    if cuts := evaluation["calibration"].get("by_cut"):
        plots["cuts"] = plot_cuts(cuts, before.get("by_cut"))
    if evaluation["auc"] is not None:
        plots["roc"] = plot_roc(
            predictions.scores,
            good,
            sensitivity=evaluation["sensitivity"],
            specificity=evaluation["specificity"],
            has_band=evaluation["auc_ci_withheld"] is None,
        )
    if "sweep" in evaluation:
        plots["sweep"] = plot_sweep(evaluation["sweep"], evaluation["threshold"])
    if card and card["learning_curve"]:
        plots["learning"] = plot_learning_curve(card["learning_curve"])
    return ENVIRONMENT.get_template("evaluation.html.j2").render(
        e=evaluation,
        plots={name: Markup(svg) for name, svg in plots.items()},  # noqa: S704  # drawn from numbers alone
        title=title,
        data=data,
        card=card,
        galleries=galleries or {},
        made_at=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
    )


def render_comparison(comparison: Mapping[str, Any], one: Candidate, other: Candidate) -> str:
    """Renders a comparison of two models as HTML.

    Args:
        comparison: from `triage.evaluation.comparison.compare_models`.
        one: the first model.
        other: the second.
    """
    good_votes = comparison["good_votes"]
    curves = [(each.predictions.scores, each.predictions.good(good_votes)) for each in (one, other)]
    return ENVIRONMENT.get_template("comparison.html.j2").render(
        c=comparison,
        roc=Markup(plot_rocs(curves)),  # noqa: S704  # drawn from numbers alone
        made_at=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
    )
