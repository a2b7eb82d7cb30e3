"""`--map`: writes a picture of where in a photo the quality is low."""

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from triage.errors import UsageError
from triage.files.hashing import sha256_of
from worker.cli.output import write_bytes

if TYPE_CHECKING:
    from triage.domain.card import Card
    from worker.services import Services
    from worker.settings import Settings

LEGEND: Final = "blue raises the score, orange lowers it, grey is just enough for the threshold"

map_option = click.option(
    "--map",
    "picture",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write a PNG of one photo that shows where its quality is low.",
)


def write_map(
    picture: Path, data: bytes, settings: "Settings", card: "Card", weights: bytes, *, sha256: str | None = None
) -> None:
    """Maps a photo and writes the picture, which shows the photo in grey.

    Args:
        picture: is replaced if it exists.
        data: the bytes of the photo, decoded in a process of their own.
        settings: have the limits of photos.
        card: of the model.
        weights: of the model.
        sha256: that the bytes must have, if they may have changed.

    Raises:
        AttachmentError, TransientError: the photo cannot be assessed.
        ModelError: the weights do not match the card.
        UsageError: the bytes have changed, or the file cannot be written.
    """
    from triage.imaging.decode import Decoder  # deferred: imports pillow and pydicom
    from triage.model.map_picture import draw_map  # deferred: imports torch
    from triage.model.preparation import prepare_photo  # deferred: imports numpy
    from triage.model.quality_map import map_quality  # deferred: imports torch
    from triage.model.weights import load_network  # deferred: imports torch

    if sha256 is not None and sha256_of(data) != sha256:
        raise UsageError("the photo at its URI has changed since it was scored: it has no map")
    with Decoder(settings.image_limits) as decoder:
        photo = prepare_photo(data, decoder, apart=True)
    write_bytes(picture, draw_map(map_quality(load_network(card, weights), card, photo.photo), photo))


def write_stored_map(
    picture: Path, services: "Services", message: str, source: str | None, photo: str | None, *, by: str
) -> None:
    """Maps a photo of the store by the model that scored it. The audit trail records who saw it.

    Raises:
        As `write_map` and `triage.reports.photo_view.view_photo`.
    """
    from triage.reports.photo_view import view_photo  # deferred: imports SQLAlchemy

    view = view_photo(services.sessions, message, source, photo, by=by)
    data = services.source.fetch(view.attachment)
    weights = services.registry.weights(view.card)
    write_map(picture, data, services.settings, view.card, weights, sha256=view.sha256)
