"""`triage models`: the model registry."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from triage.errors import UsageError
from triage.model.starter import STARTER, STARTER_FOLDER
from worker.cli.commands import group
from worker.cli.named_model import find_card, load_model
from worker.cli.options import SHARE, by_option
from worker.cli.output import json_option, local_time, print_document, print_json, write_text
from worker.cli.tables import Column, print_line, print_table
from worker.services import open_services

if TYPE_CHECKING:
    from triage.domain.card import RegisteredModel
    from triage.evaluation.export import Format

_by = by_option("Who makes the change")


@group()
def models() -> None:
    """Add, promote, roll back and retire models."""


@models.command("list")
@json_option
def list_(*, as_json: bool) -> None:
    """Show all models, newest first. Standard error names those whose card is malformed."""
    from triage.domain.card import RegisteredModel  # deferred: imports pydantic
    from triage.reports.models import find_forced_promotion, list_models  # deferred: imports SQLAlchemy

    with open_services() as services:
        registered = list_models(services.sessions)
        forced = find_forced_promotion(services.sessions)
    found = [model for model in registered if isinstance(model, RegisteredModel)]
    for model in registered:
        if not isinstance(model, RegisteredModel):
            print_line(f"{model.problem} ({model.stage}, SHA-256 {model.weights_sha256[:12]})", err=True)
    if as_json:
        from worker.documents.models import ModelDocument  # deferred: imports pydantic

        print_document([ModelDocument.of(model) for model in found])
        return
    print_table(
        ("model", "version", "stage", "threshold", Column("sha256", 1), Column("created", 2)),
        (
            (
                m.card.label,
                m.version,
                m.stage,
                f"{m.card.threshold:.3f}",
                m.card.weights_sha256[:12],
                local_time(m.card.created_at),
            )
            for m in found
        ),
    )
    if forced is not None:
        print_line(f"the promotion of the live model was forced: {forced}")


@models.command()
@click.argument("folder")
@click.option("--new-version", is_flag=True, help="Make it the next version of its name, if a model has it.")
@_by
@json_option
def add(folder: str, by: str, *, new_version: bool, as_json: bool) -> None:
    """Register a model as a candidate. FOLDER has weights.safetensors and card.json, or is `starter`."""
    with open_services() as services:
        path = STARTER_FOLDER if folder == STARTER else Path(folder)
        _show(services.registry.add_folder(path, actor=by, new_version=new_version), as_json=as_json)


@models.command()
@click.argument("name")
@click.option("--allow-untrained", is_flag=True, help="Allow a model with random weights, for demonstrations only.")
@click.option("--force", is_flag=True, help="Promote a model that is not sufficiently evaluated; requires --reason.")
@click.option("--reason", help="Why it is forced, without patient data. The audit trail keeps it.")
@_by
@json_option
def promote(name: str, reason: str | None, by: str, *, allow_untrained: bool, force: bool, as_json: bool) -> None:
    """Make a model live, by its NAME, NAME@VERSION or the start of its SHA-256.

    Its card must have an evaluation of at least 20 good and 20 bad photos that it did not learn from.
    """
    if force != (reason is not None):
        raise UsageError("give --force and --reason together")
    with open_services() as services:
        model = services.registry.promote(name, actor=by, allow_untrained=allow_untrained, force_reason=reason)
    _show(model, as_json=as_json)


@models.command()
@click.argument("name")
@_by
@json_option
def shadow(name: str, by: str, *, as_json: bool) -> None:
    """Let a model score live photos without deciding. `triage report` shows where it disagrees."""
    with open_services() as services:
        _show(services.registry.shadow(name, actor=by), as_json=as_json)


@models.command()
@_by
@json_option
def rollback(by: str, *, as_json: bool) -> None:
    """Make the previous live model live again."""
    with open_services() as services:
        _show(services.registry.rollback(actor=by), as_json=as_json)


@models.command()
@click.argument("name")
@_by
@json_option
def retire(name: str, by: str, *, as_json: bool) -> None:
    """Retire a model that is not live."""
    with open_services() as services:
        _show(services.registry.retire(name, actor=by), as_json=as_json)


@models.command()
@click.argument("name")
@click.argument("predictions", type=click.Path(path_type=Path))
@click.option("--group", "column", default="group", show_default=True, help="Column that names each photo's message.")
@click.option("--target-ppv", type=SHARE, help="Choose the thresholds for this PPV instead of Youden's index.")
@_by
@json_option
def thresholds(name: str, predictions: Path, column: str, target_ppv: float | None, by: str, *, as_json: bool) -> None:
    """Fit thresholds for messages of several photos.

    PREDICTIONS is a CSV with the columns score, votes and group. The thresholds are recorded on the model's card.
    """
    from triage.evaluation.photo_counts import fit_thresholds  # deferred: imports numpy
    from triage.evaluation.predictions import read_predictions  # deferred: imports numpy
    from triage.reports.models import find_model  # deferred: imports SQLAlchemy

    labelled = read_predictions(predictions)
    with open_services() as services:
        good_votes = find_model(services.sessions, name).card.good_votes
        fitted = fit_thresholds(labelled, good_votes=good_votes, column=column, target_ppv=target_ppv)
        model = services.registry.set_photo_count_thresholds(name, fitted, actor=by)
    if as_json:
        from worker.documents.models import ModelThresholdsDocument  # deferred: imports pydantic

        print_document(ModelThresholdsDocument.of(model))
    else:
        for count, threshold in fitted.items():
            print_line(f"{count} photos: {threshold:.4f}")


@models.command()
@click.argument("name")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="A new folder.")
@click.option(
    "--format",
    "format_",
    type=click.Choice(["safetensors", "onnx"]),
    default="safetensors",
    show_default=True,
    help="`onnx` writes model.onnx as well.",
)
@click.option("--license", "licence", default="other", show_default=True, help="Licence id for the README.")
def export(name: str, output: Path, format_: "Format", licence: str) -> None:
    """Write a model as a folder that travels: weights, card and a README in the layout of Hugging Face's model cards.

    NAME is a registered model, a folder or `starter`. Every command takes the folder as a model.
    """
    from triage.evaluation.export import export_model  # deferred: imports Jinja

    card, weights = load_model(name)
    files = export_model(card, weights, output, format_=format_, licence=licence)
    print_line(f"{output}: {', '.join(files)}")


@models.command()
@click.argument("name")
@click.option("--html", type=click.Path(path_type=Path), help="Write the card as a page to this file instead.")
@json_option
def card(name: str, html: Path | None, *, as_json: bool) -> None:
    """Show a model's card. NAME is a name, NAME@VERSION, the start of a SHA-256, ./folder or `starter`.

    A terminal shows what people read first; in a pipe or with --json, the whole card is one JSON document.
    """
    from triage.domain.card import card_json  # deferred: imports pydantic
    from worker.cli.card_text import print_card  # deferred: only for a terminal

    found = find_card(name)
    if html is None:
        if as_json or not sys.stdout.isatty():
            print_json(card_json(found))
        else:
            print_card(found)
        return
    from triage.evaluation.card_page import render_card  # deferred: imports matplotlib

    write_text(html, render_card(found))
    print_line(f"{html}: the card of model {found.label}", err=as_json)


def _show(model: "RegisteredModel", *, as_json: bool) -> None:
    if as_json:
        from worker.documents.models import ModelDocument  # deferred: imports pydantic

        print_document(ModelDocument.of(model))
    else:
        print_line(f"model {model.card.label}{_version(model)} ({model.card.weights_sha256[:12]}): {model.stage.value}")


def _version(model: "RegisteredModel") -> str:
    return f" version {model.version}" if model.version > 1 else ""
