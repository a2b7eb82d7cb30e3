"""The model that an argument or an option names; the database is used only for registered models."""

from typing import TYPE_CHECKING

from worker.services import open_services

if TYPE_CHECKING:
    from triage.domain.card import Card


def load_model(name: str) -> "tuple[Card, bytes]":
    """The card and the weights of the model that `name` stands for, as `triage.model.named.read_model`."""
    from triage.model.named import read_model  # deferred: imports pydantic

    return read_model(name, load_registered)


def load_registered(name: str) -> "tuple[Card, bytes]":
    """The card and the weights of a registered model; a folder stands for the model with its weights."""
    with open_services() as services:
        return services.registry.load(registered_name(name))


def find_card(name: str) -> "Card":
    """The card of the model that `name` stands for."""
    from triage.model.artifact import read_artifact  # deferred: imports pydantic
    from triage.model.named import folder_of  # deferred: imports pydantic
    from triage.reports.models import find_model  # deferred: imports SQLAlchemy

    folder = folder_of(name)
    if folder is not None:
        return read_artifact(folder)[0]
    with open_services() as services:
        return find_model(services.sessions, name).card


def registered_name(name: str) -> str:
    """What the registry calls the model that `name` stands for: that of a folder by the SHA-256 of its weights."""
    from triage.model.artifact import read_artifact  # deferred: imports pydantic
    from triage.model.named import folder_of  # deferred: imports pydantic

    folder = folder_of(name)
    return name if folder is None else read_artifact(folder)[0].weights_sha256
