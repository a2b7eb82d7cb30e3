"""`triage evaluate`: the measures of the paper, from scores and votes or from a model and labelled photos."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from triage.errors import UsageError
from worker.cli.commands import command
from worker.cli.evaluation_text import print_evaluation
from worker.cli.options import SHARE
from worker.cli.output import account, json_option, print_document, print_unread, write_text
from worker.cli.predict import predict_with
from worker.cli.tables import print_line
from worker.services import open_services

if TYPE_CHECKING:
    from triage.evaluation.predictions import Predictions
    from triage.evaluation.report import GalleryPhoto


@command()
@click.argument("predictions", required=False, type=click.Path(path_type=Path))
@click.option("--model", help="Evaluate this model (name, NAME@VERSION, SHA-256 or ./folder) on --manifest instead.")
@click.option("--manifest", type=click.Path(path_type=Path), help="Labelled photos for --model.")
@click.option("--split", help="Split of the manifest. [default: all photos]")
@click.option("--record", is_flag=True, help="Record the result on the card of the registered model.")
@click.option("--threshold", type=click.FloatRange(0, 1), help="Threshold. [default: the model's, or Youden's index]")
@click.option("--target-ppv", type=SHARE, help="Choose the threshold for this PPV.")
@click.option("--good-votes", type=click.IntRange(1), help="Votes that make a photo good. [default: the model's, or 2]")
@click.option("--by", multiple=True, metavar="COLUMN", help="Also evaluate by the values of this column; repeatable.")
@click.option(
    "--good-share",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="Adjust PPV to this share of good photos.",
)
@click.option("--compare", type=click.Path(path_type=Path), help="Predictions of another model on the same photos.")
@click.option("--html", type=click.Path(path_type=Path), help="Write a report with plots to this file.")
@click.option("--sweep", "sweeps", is_flag=True, help="Also show the rates at other thresholds.")
@click.option("--sweep-out", type=click.Path(path_type=Path), help="Write the rates at every threshold as CSV.")
@click.option("--photos", is_flag=True, help="Show photos in --html: mistakes, and those near the threshold.")
@click.option("--predictions-out", "output", type=click.Path(path_type=Path), help="Also write its predictions here.")
@json_option
def evaluate(
    predictions: Path | None,
    model: str | None,
    manifest: Path | None,
    split: str | None,
    threshold: float | None,
    target_ppv: float | None,
    good_votes: int | None,
    by: tuple[str, ...],
    good_share: float | None,
    compare: Path | None,
    html: Path | None,
    output: Path | None,
    sweep_out: Path | None,
    *,
    sweeps: bool,
    photos: bool,
    record: bool,
    as_json: bool,
) -> None:
    """Evaluate PREDICTIONS, a CSV with the columns score (0 to 1), votes, and any others to group by."""
    if (predictions is None) == (model is None) or (model is None) != (manifest is None):
        raise UsageError("give PREDICTIONS, or --model and --manifest")
    if threshold is not None and math.isnan(threshold):
        raise UsageError("--threshold must be a number from 0 to 1")
    if record and model is None:
        raise UsageError("--record requires --model and --manifest")
    if record and (threshold is not None or target_ppv is not None):
        raise UsageError("--record evaluates at the threshold of the model: leave out --threshold and --target-ppv")
    if threshold is not None and target_ppv is not None:
        raise UsageError("give --threshold or --target-ppv, not both")
    if photos and (html is None or model is None):
        raise UsageError("--photos requires --html, --model and --manifest")
    if output is not None and model is None:
        raise UsageError("--predictions-out requires --model and --manifest")
    if model is not None and good_votes is not None:
        raise UsageError("--good-votes requires PREDICTIONS: a model has its own")

    from triage.evaluation.evaluate import MAX_GROUPS, comparison_json  # deferred: imports scipy
    from triage.evaluation.evaluate import evaluate as evaluate_predictions  # deferred: imports scipy
    from triage.evaluation.predictions import read_predictions  # deferred: imports numpy
    from triage.statistics.prevalence import PAPER_GOOD_SHARE  # deferred: imports numpy

    card, galleries, summary, predicted = None, None, None, None
    if predictions is not None:
        rows, data = read_predictions(predictions), "Predictions from a file"
    else:
        predicted = predict_with(str(model), Path(str(manifest)), split, for_card=record)
        rows, data, card = predicted.predictions, predicted.data, predicted.card
        galleries = predicted.galleries if photos else None
        skipped = {"of other splits": predicted.n_of_other_splits}
        codes = [photo.code for photo in predicted.unscored]
        summary = account(len(rows) + len(codes), codes, skipped)
        good_votes = predicted.card.good_votes
        if threshold is None and target_ppv is None:
            threshold = predicted.card.threshold
    _check_columns(rows, by, MAX_GROUPS)
    document = evaluate_predictions(
        rows,
        threshold=threshold,
        good_votes=good_votes or 2,
        by=by,
        target_ppv=target_ppv,
        good_share=good_share or PAPER_GOOD_SHARE,
    )
    if predicted is not None:
        document |= {"reasons": predicted.reasons, "trained_on": predicted.trained_on}
    if sweeps or sweep_out is not None:
        _add_sweep(document, rows, sweep_out)
    if compare is not None:
        other = read_predictions(compare)
        if list(other.votes) != list(rows.votes):
            raise UsageError("--compare: the votes differ: give predictions for the same photos in the same order")
        if document["auc"] is None:
            raise UsageError("--compare requires good and bad photos")
        document["comparison"] = comparison_json(rows, other, good_votes=document["good_votes"])
    if record and predicted is not None:
        evaluated = predicted.card.weights_sha256  # whatever its name means by now
        with open_services() as services:
            services.registry.record_evaluation(evaluated, split or "all", document, actor="evaluation")
    if predicted is not None and output is not None:
        from triage.evaluation.prediction_table import write_predictions  # deferred: imports pydantic

        write_predictions(predicted.photos, predicted.card, output)
    if html is not None:
        write_text(html, _page(document, rows, data, card, galleries))
    if as_json:
        from worker.documents.evaluation import EvaluationDocument  # deferred: imports pydantic

        print_document(EvaluationDocument.model_validate(document))
    else:
        print_evaluation(document)
    for path, what in (
        (html, "the evaluation"),
        (sweep_out, "the rates at every threshold"),
        (output, "the predictions"),
    ):
        if path is not None:
            print_line(f"{path}: {what}", err=as_json)
    if record and card is not None:
        print_line(f"recorded on the card of model {card.label}", err=as_json)
    if predicted is not None and summary is not None:
        print_unread(predicted.unscored, err=as_json)
        print_line(summary, err=as_json)


def _check_columns(rows: "Predictions", by: Sequence[str], most: int) -> None:
    for column in by:
        if column not in rows.columns:
            raise UsageError(f"--by: there is no column {column!r}")
        if len(set(rows.columns[column])) > most:
            raise UsageError(f"--by: column {column!r} has more than {most} values: use a column with fewer")


def _page(
    document: dict[str, Any],
    rows: "Predictions",
    data: str,
    card: Any,
    galleries: "Callable[[float], Mapping[str, Sequence[GalleryPhoto]]] | None",
) -> str:
    from triage.domain.card import card_json  # deferred: imports pydantic
    from triage.evaluation.report import render_evaluation  # deferred: imports matplotlib

    return render_evaluation(
        document,
        rows,
        title=f"Evaluation of model {card.label}" if card else "Evaluation",
        data=data,
        card=card_json(card) if card else None,
        galleries=galleries(document["threshold"]) if galleries else None,
    )


def _add_sweep(document: dict[str, Any], rows: "Predictions", output: Path | None) -> None:
    from triage.dataset.tables import write_table  # deferred: imports the standard library's csv
    from triage.evaluation.sweep import sweep  # deferred: imports numpy

    found = sweep(rows.scores, rows.good(document["good_votes"]), document["threshold"])
    document["sweep"] = [row.json() for row in found]
    if output is not None:
        cells = [
            {name: "" if value is None else str(value) for name, value in row.items()} for row in document["sweep"]
        ]
        write_table(output, cells)
