"""`triage models`: the registry."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from triage.errors import UsageError
from triage.model.starter import model_folder
from worker.cli.commands import group
from worker.cli.options import SHARE, by_option
from worker.cli.output import json_option, local_time, print_document, print_json
from worker.cli.tables import Column, print_table
from worker.services import open_services

if TYPE_CHECKING:
    from triage.storage.model_versions import RegisteredModel

_by = by_option("Who does it")


@group()
def models() -> None:
    """Add, promote, roll back and retire models."""


@models.command("list")
@json_option
def list_(*, as_json: bool) -> None:
    """Show all models, newest first."""
    from triage.storage import model_versions as rows  # deferred: imports SQLAlchemy

    with open_services() as services, services.sessions() as session:
        found = rows.list_models(session)
    if as_json:
        from worker.documents.models import ModelDocument  # deferred: imports pydantic

        print_document([ModelDocument.of(model) for model in found])
        return
    print_table(
        ("model", "stage", "threshold", Column("sha256", 1), Column("created", 2)),
        (
            (
                m.card.label,
                m.stage,
                f"{m.card.threshold:.3f}",
                m.card.weights_sha256[:12],
                local_time(m.card.created_at),
            )
            for m in found
        ),
    )


@models.command()
@click.argument("folder")
@_by
@json_option
def add(folder: str, by: str, *, as_json: bool) -> None:
    """Register the model in FOLDER (weights.safetensors and card.json), or `starter`, as a candidate."""
    with open_services() as services:
        _show(services.registry.add_folder(model_folder(folder), actor=by), as_json=as_json)


@models.command()
@click.argument("name")
@click.option("--allow-untrained", is_flag=True, help="Demonstrations only: its scores mean nothing.")
@_by
@json_option
def promote(name: str, by: str, *, allow_untrained: bool, as_json: bool) -> None:
    """Make a model live, by its NAME or the start of its SHA-256."""
    with open_services() as services:
        _show(services.registry.promote(name, actor=by, allow_untrained=allow_untrained), as_json=as_json)


@models.command()
@click.argument("name")
@_by
@json_option
def shadow(name: str, by: str, *, as_json: bool) -> None:
    """Let a model score live traffic without deciding; `triage report` shows where it disagrees."""
    with open_services() as services:
        _show(services.registry.shadow(name, actor=by), as_json=as_json)


@models.command()
@_by
@json_option
def rollback(by: str, *, as_json: bool) -> None:
    """Make the model live that was live before."""
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
@click.option("--target-ppv", type=SHARE, help="Instead of Youden's index.")
@_by
@json_option
def thresholds(name: str, predictions: Path, column: str, target_ppv: float | None, by: str, *, as_json: bool) -> None:
    """Fit thresholds for messages of n photos from PREDICTIONS (score, votes, group) and put them on the card."""
    from triage.evaluation.photo_counts import (  # deferred: imports numpy
        FEWEST_GROUPS,
        thresholds_by_photo_count,
    )
    from triage.evaluation.predictions import read_predictions  # deferred: imports numpy
    from triage.storage import model_versions as rows  # deferred: imports SQLAlchemy

    with open_services() as services:
        with services.sessions() as session:
            found = rows.find(session, name)
        labelled = read_predictions(predictions)
        if column not in labelled.columns:
            raise UsageError(f"{predictions}: there is no column {column!r}; name yours with --group")
        fitted = thresholds_by_photo_count(
            labelled.scores,
            labelled.good(found.card.good_votes),
            labelled.columns[column],
            target_ppv=target_ppv,
        )
        if not fitted:
            raise UsageError(
                f"{predictions}: no number of photos has {FEWEST_GROUPS} usable and {FEWEST_GROUPS} unusable messages"
            )
        model = services.registry.set_photo_count_thresholds(name, fitted, actor=by)
    if as_json:
        from worker.documents.models import ModelThresholdsDocument  # deferred: imports pydantic

        print_document(ModelThresholdsDocument.of(model))
    else:
        click.echo("\n".join(f"{count} photos: {threshold:.4f}" for count, threshold in fitted.items()))


@models.command()
@click.argument("name")
def card(name: str) -> None:
    """Print a model's card as JSON."""
    from triage.domain.card import card_json  # deferred: imports pydantic
    from triage.storage import model_versions as rows  # deferred: imports SQLAlchemy

    with open_services() as services, services.sessions() as session:
        print_json(card_json(rows.find(session, name).card))


def _show(model: "RegisteredModel", *, as_json: bool) -> None:
    if as_json:
        from worker.documents.models import ModelDocument  # deferred: imports pydantic

        print_document(ModelDocument.of(model))
    else:
        click.echo(f"model {model.card.label} ({model.card.weights_sha256[:12]}): {model.stage.value}")
