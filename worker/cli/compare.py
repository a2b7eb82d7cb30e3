"""`triage compare`: two models on the same photos."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from triage.errors import UsageError
from triage.files.kinds import is_file
from worker.cli.commands import command
from worker.cli.options import SHARE
from worker.cli.output import count, json_option, percent, print_document, write_text
from worker.cli.predict import predict_with
from worker.cli.tables import print_line, print_table

if TYPE_CHECKING:
    from triage.evaluation.comparison import Candidate

_SHOWN: Final = 10
_TABLES: Final = (".csv", ".tsv", ".txt", ".parquet")


@command()
@click.argument("one")
@click.argument("other")
@click.option("--manifest", type=click.Path(path_type=Path), help="Labelled photos, if a model is named.")
@click.option("--split", help="Split of the manifest. [default: all photos]")
@click.option("--threshold", type=SHARE, help="Of the first. [default: the model's, or Youden's index]")
@click.option("--other-threshold", type=SHARE, help="Of the second. [default: the model's, or Youden's index]")
@click.option("--good-votes", type=click.IntRange(1), default=2, show_default=True)
@click.option("--html", type=click.Path(path_type=Path), help="Write a page with the ROC curves to this file.")
@json_option
def compare(
    one: str,
    other: str,
    manifest: Path | None,
    split: str | None,
    threshold: float | None,
    other_threshold: float | None,
    good_votes: int,
    html: Path | None,
    *,
    as_json: bool,
) -> None:
    """Compare two models on the same photos.

    ONE and OTHER are tables of predictions, joined by the column path, or models (name, NAME@VERSION, SHA-256 or
    ./folder) that score the photos of --manifest.
    """
    from triage.evaluation.comparison import compare_models  # deferred: imports scipy

    first = _candidate(one, threshold, manifest, split)
    second = _candidate(other, other_threshold, manifest, split)
    document = compare_models(first, second, good_votes=good_votes)
    shown = document | _distinct(document, one, other)
    if html is not None:
        from triage.evaluation.report import render_comparison  # deferred: imports matplotlib

        write_text(html, render_comparison(shown, first, second))
    if as_json:
        from worker.documents.evaluation import ModelComparisonDocument  # deferred: imports pydantic

        print_document(ModelComparisonDocument.model_validate(document))
    else:
        _print(shown)
    if html is not None:
        print_line(f"{html}: the comparison", err=as_json)


def _candidate(name: str, threshold: float | None, manifest: Path | None, split: str | None) -> "Candidate":
    from triage.evaluation.comparison import Candidate  # deferred: imports scipy
    from triage.evaluation.predictions import read_predictions  # deferred: imports numpy
    from triage.model.named import is_path  # deferred: imports pydantic

    if (manifest is None or is_path(name, *_TABLES)) and is_file(Path(name)):
        return Candidate(name, read_predictions(Path(name)), threshold)
    if manifest is None:
        raise UsageError(f"{name}: no such table of predictions; to compare models, give --manifest")
    predicted = predict_with(name, manifest, split)
    chosen = predicted.card.threshold if threshold is None else threshold
    return Candidate(predicted.card.label, predicted.predictions, chosen, predicted.trained_on)


def _distinct(document: dict[str, Any], one: str, other: str) -> dict[str, Any]:
    """The two models with what was given as a part of their names, if they share one: a model and its export."""
    if document["one"]["name"] != document["other"]["name"]:
        return {}
    given = {"one": one, "other": other}
    return {side: document[side] | {"name": f"{document[side]['name']} ({text})"} for side, text in given.items()}


def _print(document: dict[str, Any]) -> None:
    print_line(f"{count(document['n'], 'photo')}, {document['n_good']} good, {document['n_bad']} bad")
    print_line()
    print_table(
        ("model", "AUC", "threshold", "sensitivity", "specificity", "PPV", "needless"),
        (
            (
                model["name"],
                f"{model['auc']:.3f}",
                f"{model['threshold']:.4f}",
                *(percent(model[rate]) for rate in ("sensitivity", "specificity", "ppv", "needless_retake_share")),
            )
            for model in (document["one"], document["other"])
        ),
    )
    print_line()
    print_line(f"difference of the AUCs {document['difference']:+.3f}{_tests(document)}")
    if document["by_patient"]:
        interval = document["by_patient"]["interval"]
        shown = "not estimated" if interval is None else f"{interval[0]:+.3f} to {interval[1]:+.3f}"
        print_line(f"95 % interval that resamples {document['by_patient']['n_patients']} patients: {shown}")
    for caution in document["cautions"]:
        print_line(f"caution: {caution}")
    print_line()
    print_table(
        ("photos", "both pass", "only the first passes", "only the second passes", "both fail"),
        ((name, *counts.values()) for name, counts in document["reclassification"].items()),
    )
    if document["changed"]:
        print_line()
        print_table(
            ("photo on two sides", "votes", "first", "second"),
            (
                (each["photo"], f"{each['votes']:g}", f"{each['one']:.3f}", f"{each['other']:.3f}")
                for each in document["changed"][:_SHOWN]
            ),
        )
        if len(document["changed"]) > _SHOWN:
            print_line(f"and {len(document['changed']) - _SHOWN} more: see --json")


def _tests(document: dict[str, Any]) -> str:
    if document["withheld"]:
        return f" (paired test withheld: {document['withheld']})"
    low, high = document["interval"]
    p_values = f"DeLong p = {document['p_value']:.2g}, permutation p = {document['permutation_p_value']:.2g}"
    return f" ({low:+.3f} to {high:+.3f}), {p_values}"
