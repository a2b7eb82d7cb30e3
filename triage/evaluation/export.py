"""A model as a folder that travels: weights, card, README and, if asked for, an ONNX graph."""

from pathlib import Path
from typing import Final, Literal

from triage.domain.card import Card
from triage.errors import UsageError
from triage.evaluation.model_card import render_readme
from triage.files.atomic import write_folder_durably
from triage.model.artifact import CARD_FILE, WEIGHTS_FILE, card_bytes, check_model

Format = Literal["safetensors", "onnx"]
ONNX_FILE: Final = "model.onnx"
README_FILE: Final = "README.md"


def export_model(
    card: Card, weights: bytes, folder: Path, *, format_: Format = "safetensors", licence: str = "other"
) -> list[str]:
    """Writes a model that every command reads, all files at once or none.

    Args:
        card: of the model, with the hash of the weights.
        weights: a safetensors file; its bytes do not change.
        folder: does not exist, or is empty.
        format_: with `onnx`, the folder has an ONNX graph as well.
        licence: for the README.

    Returns:
        The names of the files.

    Raises:
        ModelError: the weights are not those of the card.
        UsageError: the folder holds something or cannot be written, or packages for ONNX are missing.
    """
    check_model(card, weights)
    folder = folder.absolute()
    refusal = f"{folder}: the folder is not empty: give a new one"
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise UsageError(refusal)
    files = {WEIGHTS_FILE: weights, CARD_FILE: card_bytes(card)}
    if format_ == "onnx":
        from triage.model.onnx import onnx_of  # deferred: imports torch

        files[ONNX_FILE] = onnx_of(card, weights)
    readme = render_readme(card, folder=folder.name, licence=licence, has_onnx=ONNX_FILE in files)
    try:
        write_folder_durably(folder, files | {README_FILE: readme.encode()})
    except FileExistsError as error:
        raise UsageError(refusal) from error
    except OSError as error:
        raise UsageError(f"{folder}: the folder cannot be written: check the path and its permissions") from error
    return [*files, README_FILE]
