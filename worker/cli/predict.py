"""`triage predict`: what a model says about labelled photos, as a table."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from worker.cli.commands import command
from worker.cli.named_model import load_model, load_registered
from worker.cli.output import account, print_unread
from worker.cli.tables import print_line

if TYPE_CHECKING:
    from triage.evaluation.predict import Predicted


@command()
@click.option("--model", required=True, help="The model: name, NAME@VERSION, SHA-256, ./folder or `starter`.")
@click.option("--manifest", type=click.Path(path_type=Path), required=True, help="Labelled photos.")
@click.option("--split", help="Split of the manifest. [default: all photos]")
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), required=True)
def predict(model: str, manifest: Path, split: str | None, output: Path) -> None:
    """Score labelled photos, and write the predictions as CSV or, by the suffix, Parquet.

    Each row has the photo's path and patient, cumulative probabilities, score, grade, scores of the patches, findings,
    and the model with its SHA-256. `triage evaluate` and `triage compare` read it.
    """
    from triage.evaluation.prediction_table import write_predictions  # deferred: imports pydantic

    predicted = predict_with(model, manifest, split)
    write_predictions(predicted.photos, predicted.card, output)
    skipped = {"of other splits": predicted.n_of_other_splits}
    print_unread(predicted.unscored)
    codes = [photo.code for photo in predicted.unscored]
    print_line(f"{output}: {account(len(predicted.photos) + len(codes), codes, skipped)}")


def predict_with(model: str, manifest: Path, split: str | None, *, for_card: bool = False) -> "Predicted":
    """As `triage.evaluation.predict.predict_manifest`, for any name of a model; for its card it must be registered."""
    from triage.evaluation.predict import predict_manifest  # deferred: imports torch
    from worker.inference import load_engine  # deferred: imports torch
    from worker.settings import load_settings  # deferred: imports pydantic-settings

    card, weights = load_registered(model) if for_card else load_model(model)
    settings = load_settings()
    return predict_manifest(
        card,
        weights,
        manifest,
        split,
        load_engine=partial(load_engine, settings),
        limits=settings.image_limits,
        for_card=for_card,
    )
