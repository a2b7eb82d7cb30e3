"""`triage evaluate`: the measures of the paper, from scores and votes or from a model and labelled photos."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from triage.errors import UsageError
from worker.cli.commands import command
from worker.cli.options import SHARE
from worker.cli.output import account, count, json_option, percent, print_document, write_text
from worker.cli.predict import predict_with
from worker.cli.tables import Column, print_line, print_table
from worker.services import open_services

if TYPE_CHECKING:
    from triage.evaluation.predictions import Predictions
    from triage.evaluation.report import Mistake

_RATES = {
    "sensitivity": "good photos that pass",
    "specificity": "bad photos that fail",
    "ppv": "passing photos that are good",
    "npv": "failing photos that are bad",
    "needless_retake_share": "failing photos that are good",
}


@command()
@click.argument("predictions", required=False, type=click.Path(path_type=Path))
@click.option(
    "--model", "model", help="Evaluate this model (registered name, SHA-256 or folder) on --manifest instead."
)
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
    *,
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
    if threshold is not None and target_ppv is not None:
        raise UsageError("give --threshold or --target-ppv, not both")
    if output is not None and model is None:
        raise UsageError("--predictions-out requires --model and --manifest")
    if model is not None and good_votes is not None:
        raise UsageError("--good-votes requires PREDICTIONS: a model has its own")

    from triage.evaluation.evaluate import MAX_GROUPS, comparison_json  # deferred: imports scipy
    from triage.evaluation.evaluate import evaluate as evaluate_predictions  # deferred: imports scipy
    from triage.evaluation.predictions import read_predictions  # deferred: imports numpy
    from triage.statistics.prevalence import PAPER_GOOD_SHARE  # deferred: imports numpy

    card, mistakes, summary, predicted = None, None, None, None
    if predictions is not None:
        rows, data = read_predictions(predictions), "Predictions from a file"
    else:
        predicted = predict_with(str(model), Path(str(manifest)), split, for_card=record)
        rows, data, card = predicted.predictions, predicted.data, predicted.card
        mistakes = predicted.mistakes
        skipped = {"of other splits": predicted.n_of_other_splits}
        summary = account(len(rows) + len(predicted.unscored), predicted.unscored, skipped)
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
        document["reasons"] = predicted.reasons
    if compare is not None:
        other = read_predictions(compare)
        if list(other.votes) != list(rows.votes):
            raise UsageError("--compare: the votes differ: give predictions for the same photos in the same order")
        if document["auc"] is None:
            raise UsageError("--compare requires good and bad photos")
        document["comparison"] = comparison_json(rows, other, good_votes=document["good_votes"])
    if record:
        with open_services() as services:
            services.registry.record_evaluation(str(model), split or "all", document, actor="evaluation")
    if predicted is not None and output is not None:
        from triage.evaluation.prediction_table import write_predictions  # deferred: imports pydantic

        write_predictions(predicted.photos, predicted.card, output)
    if html is not None:
        write_text(html, _page(document, rows, data, card, mistakes))
    if as_json:
        from worker.documents.evaluation import EvaluationDocument  # deferred: imports pydantic

        print_document(EvaluationDocument.model_validate(document))
    else:
        _print(document)
    if summary is not None:
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
    mistakes: "Callable[[float], Sequence[Mistake]] | None",
) -> str:
    from triage.domain.card import card_json  # deferred: imports pydantic
    from triage.evaluation.report import render_evaluation  # deferred: imports matplotlib

    return render_evaluation(
        document,
        rows,
        title=f"Evaluation of model {card.label}" if card else "Evaluation",
        data=data,
        card=card_json(card) if card else None,
        mistakes=mistakes(document["threshold"]) if mistakes else (),
    )


def _print(document: dict[str, Any]) -> None:
    print_line(f"{count(document['n'], 'photo')}, {document['n_good']} good, {document['n_bad']} bad")
    if document["auc"] is not None:
        print_line(f"AUC {document['auc']:.3f} ({_auc_intervals(document)})")
    print_line(f"threshold {document['threshold']:.4f}, {document['threshold_chosen_by']}")
    print_line()
    print_table(
        ("", "value", "95 % interval", Column("of", wrap=True)),
        (
            (name.replace("_", " "), percent(document[name]), _span(document["intervals"][name]), meaning)
            for name, meaning in _RATES.items()
        ),
    )
    if by_patient := document["by_patient"]:
        print_line()
        print_line(f"photos of {by_patient['n_patients']} patients: read these intervals, which resample patients")
        print_line(f"AUC {_plain_interval(by_patient['auc_ci'])}")
        print_table(
            ("", "95 % interval by patient"),
            ((name.replace("_", " "), _span(interval)) for name, interval in by_patient["intervals"].items()),
        )
    calibration = document["calibration"]
    if calibration["slope"] is not None:
        print_line()
        print_line(f"calibration slope {calibration['slope']:.2f}, intercept {calibration['intercept']:.2f}")
    if adjusted := document["prevalence_adjusted"]:
        bayes = adjusted["bayes"]
        print_line(
            f"if {percent(adjusted['good_share'])} of the photos were good: "
            f"PPV {percent(bayes['ppv'])}, NPV {percent(bayes['npv'])}"
        )
    if correlation := document["correlation"]:
        print_line(f"SRCC {correlation['srcc']:.3f}, PLCC {correlation['plcc']:.3f}")
    if comparison := document.get("comparison"):
        print_line(
            f"the other model: AUC {comparison['other_auc']:.3f}, difference {comparison['difference']:+.3f} "
            f"{_paired_test(comparison)}"
        )
    if reasons := document.get("reasons"):
        print_line()
        print_table(
            ("reason", "photos", "with it", Column("named", 3), "F1", "average precision", Column("kappa", 2)),
            (
                (
                    kind.replace("_", " "),
                    found["n"],
                    found["n_with"],
                    found["n_named"],
                    *(_decimal(found[name]) for name in ("f1", "average_precision", "kappa")),
                )
                for kind, found in reasons["by_reason"].items()
            ),
        )
    for column, groups in document["groups"].items():
        print_line()
        print_table(
            (
                column,
                "photos",
                Column("good", 2),
                "AUC",
                Column("95 % interval", 4),
                "sensitivity",
                "specificity",
                Column("PPV", 1),
                Column("needless", 3),
            ),
            (
                (
                    value or "not given",
                    group["n"],
                    group["n_good"],
                    "-" if group["auc"] is None else f"{group['auc']:.3f}",
                    _group_interval(group),
                    *(percent(group[rate]) for rate in ("sensitivity", "specificity", "ppv", "needless_retake_share")),
                )
                for value, group in groups.items()
            ),
        )


def _auc_intervals(document: dict[str, Any]) -> str:
    if not document["auc_ci_withheld"]:
        return ", ".join(
            f"{name.replace('_', '-')} {low:.3f} to {high:.3f}" for name, (low, high) in document["auc_ci"].items()
        )
    withheld = f"other intervals withheld: {document['auc_ci_withheld']}"
    if document["auc_exact_ci"] is None:
        return withheld.removeprefix("other ")
    low, high = document["auc_exact_ci"]
    return f"exact one-sided {low:.3f} to {high:.3f}; {withheld}"


def _group_interval(group: dict[str, Any]) -> str:
    if interval := group["auc_ci"]["delong"]:
        return f"{interval[0]:.3f} to {interval[1]:.3f}"
    if interval := group["auc_exact_ci"]:
        return f"{interval[0]:.3f} to {interval[1]:.3f}, exact one-sided"
    return "withheld" if group["auc_ci_withheld"] else ""


def _plain_interval(interval: list[float] | None) -> str:
    return "not estimated" if interval is None else f"{interval[0]:.3f} to {interval[1]:.3f}"


def _paired_test(comparison: dict[str, Any]) -> str:
    if comparison["withheld"]:
        return f"(paired test withheld: {comparison['withheld']})"
    low, high = comparison["interval"]
    return f"({low:+.3f} to {high:+.3f}), p = {comparison['p_value']:.2g}"


def _decimal(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _span(interval: list[float] | None) -> str:
    return "" if interval is None else f"{percent(interval[0])} to {percent(interval[1])}"
