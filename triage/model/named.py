"""The model that a text names: the starter model, a folder, or a registered model. Needs no torch.

The text alone decides, never what lies in the current folder: with a slash it is a path, otherwise it is the name of a
registered model. So a command means the same model wherever it runs. Where a text may also name a file, a suffix makes
it a path (`is_path`).
"""

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from triage.domain.card import Card
from triage.errors import TriageError, UnknownModelError, UsageError
from triage.files.kinds import is_file, is_folder
from triage.model.artifact import read_artifact
from triage.model.starter import STARTER, STARTER_FOLDER

LoadRegistered: TypeAlias = Callable[[str], tuple[Card, bytes]]
"""Returns the card and the weights of a registered model, as `triage.registry.Registry.load` does."""


def is_path(text: str, *suffixes: str) -> bool:
    """Whether a text is a path rather than a name: it has a slash, is `.` or `..`, or ends with one of the suffixes."""
    return "/" in text or text in {".", ".."} or text.endswith(suffixes)


def folder_of(text: str) -> Path | None:
    """The folder of a model, for `starter` and for a path; None for the name of a registered model."""
    if text == STARTER:
        return STARTER_FOLDER
    return Path(text) if is_path(text) else None


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
        if is_folder(Path(text)) or is_file(Path(text)):
            kind = "folder" if is_folder(Path(text)) else "file"
            wrong = UnknownModelError if isinstance(error, UnknownModelError) else UsageError
            raise wrong(f"{error}; for the {kind} {text}, write ./{text}") from error
        raise
