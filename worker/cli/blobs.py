"""`triage blobs`: which store of photos belongs to the database."""

from worker.cli.commands import group
from worker.cli.options import by_option
from worker.cli.output import json_option, print_document
from worker.cli.tables import print_line
from worker.services import open_services


@group()
def blobs() -> None:
    """Adopt a store of photos, such as a restored copy."""


@blobs.command()
@by_option("Who adopts", required=True)
@json_option
def adopt(by: str, *, as_json: bool) -> None:
    """Use the store at TRIAGE_BLOBS__URL as the one of this database, although its marker differs.

    The volume that it replaces is refused from then on. Photos that the store lacks are retried for a week.
    """
    with open_services() as services:
        id_ = services.photo_store.adopt(by=by)
    if as_json:
        from worker.documents.operations import AdoptedStoreDocument  # deferred: imports pydantic

        print_document(AdoptedStoreDocument(id=id_))
    else:
        print_line(f"adopted: the store has the id {id_} now")
