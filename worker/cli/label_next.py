"""`triage label-next`: the photos whose labels would teach a model most."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from triage.model.starter import STARTER
from worker.cli.commands import command
from worker.cli.named_model import load_model
from worker.cli.output import account, count, json_option, print_document, print_unread
from worker.cli.progress import ProgressLine
from worker.cli.tables import Column, print_line, print_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from triage.dataset.manifest import LabelledPhoto
    from triage.labelling.features import PhotoFeatures

features_option = click.option(
    "--features",
    "features_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Keep what the network computes in this file: a second call is fast.",
)


@command()
@click.argument("manifest", required=False, type=click.Path(path_type=Path))
@click.option("--photos", type=click.Path(path_type=Path), help="Folder of photos without votes.")
@click.option("--n", type=click.IntRange(1, 100_000), default=50, show_default=True, help="Number of photos to choose.")
@click.option(
    "--model", default=STARTER, show_default=True, help="The model: name, NAME@VERSION, SHA-256, ./folder or `starter`."
)
@click.option("--other-model", help="A second model: photos on which the two disagree are worth more.")
@features_option
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the photos as a manifest to fill in, in a random order and without scores.",
)
@json_option
def label_next(
    manifest: Path | None,
    photos: Path | None,
    n: int,
    model: str,
    other_model: str | None,
    features_file: Path | None,
    output: Path | None,
    *,
    as_json: bool,
) -> None:
    """Choose the photos to label next.

    Of photos with at most one vote, from MANIFEST and the folder --photos, these are the ones near the threshold that
    are unlike each other and the labelled photos.
    """
    from triage.labelling.choice import check_candidates, choose_next  # deferred: imports torch
    from triage.labelling.photos import read_photos, write_photos  # deferred: imports numpy

    found = read_photos(manifest, photos)
    check_candidates(found.photos)
    features = read_with(model, found.photos, features_file)
    other, unread = None, [*features.unread]
    if other_model is not None:
        other = read_with(other_model, features.photos, features_file)
        features = features.only(other.photos)  # a model that crops leaves out photos whose box lies outside
        unread += other.unread
    chosen = choose_next(features, n, other)
    if output is not None:
        write_photos(found, [each.photo for each in chosen], output)
    models = [each.card.label for each in (features, other) if each is not None]
    if as_json:
        from worker.documents.labelling import LabelNextDocument  # deferred: imports pydantic

        print_document(LabelNextDocument.of(chosen, models, n_photos=len(found.photos), n_unread=len(unread)))
        return
    print_line(f"{count(len(chosen), 'photo')} to label next, by {' and '.join(models)}")
    print_line()
    print_table(
        ("photo", "votes", "score", "value", Column("patches disagree", 1), Column("distance", 2)),
        (
            (
                each.photo.path,
                f"{each.photo.votes} of {each.photo.n_votes}" if each.photo.n_votes else "none",
                f"{each.score:.3f}",
                f"{each.value:.3f}",
                f"{each.patch_disagreement:.3f}",
                "" if each.distance is None else f"{each.distance:.3f}",
            )
            for each in chosen
        ),
    )
    if output is not None:
        print_line(f"{output}: {count(len(chosen), 'photo')} to label")
    print_unread(unread)
    print_line(account(len(found.photos), [photo.code for photo in unread], {}))


def read_with(model: str, photos: "Sequence[LabelledPhoto]", file: Path | None) -> "PhotoFeatures":
    """As `triage.labelling.features.read_features`, for a named model, with a line that shows how far it is."""
    from triage.labelling.features import read_features  # deferred: imports torch
    from triage.model.engines.choose import choose_device  # deferred: imports torch
    from worker.settings import load_settings  # deferred: imports pydantic-settings

    settings = load_settings()
    slow = "" if file else "; --features FILE would keep what the network computes"
    with ProgressLine() as line:
        line.show("reading the model")
        card, weights = load_model(model)
        return read_features(
            card,
            weights,
            photos,
            device=choose_device(settings.scorer.device),
            limits=settings.image_limits,
            file=file,
            on_photo=lambda done: line.show(f"{done} of {count(len(photos), 'photo')}{slow}", done / len(photos)),
        )
