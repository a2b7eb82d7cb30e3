"""The model that a text names: the starter model, a folder, or a registered model. Needs no torch.

The text alone decides, never what lies in the current folder: with a slash it is a path, otherwise it is the name of a
registered model. So a command means the same model wherever it runs.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from triage.domain.card import Card
from triage.errors import TriageError, UsageError
from triage.files.kinds import is_folder
from triage.model.artifact import read_artifact
from triage.model.starter import STARTER, STARTER_FOLDER

LoadRegistered: TypeAlias = Callable[[str], tuple[Card, bytes]]
"""Returns the card and the weights of a registered model, as `triage.registry.Registry.load` does."""


def folder_of(text: str) -> Path | None:
    """The folder of a model, for `starter` and for a path; None for the name of a registered model.

    A path has a slash, or is `.` or `..`.
    """
    if text == STARTER:
        return STARTER_FOLDER
    return Path(text) if "/" in text or text in {".", ".."} else None


def read_model(text: str, load_registered: LoadRegistered) -> tuple[Card, bytes]:
    """The card and the weights of the model that a text names.

    Args:
        text: `starter`, the path of a folder, or what names a registered model.
        load_registered: called only for a registered model, so a folder needs no database.

    Raises:
        UsageError: no such registered model.
        ModelError: the folder holds no model, or the weights are damaged.
    """
    folder = folder_of(text)
    if folder is not None:
        return read_artifact(folder)
    try:
        return load_registered(text)
    except TriageError as error:
        if is_folder(Path(text)):
            raise UsageError(f"{error}; for the folder {text}, write ./{text}") from error
        raise
