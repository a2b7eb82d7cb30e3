"""The starter model, which ships with the product: for trials and as initial weights of a training, not for care."""

from pathlib import Path
from typing import Final

STARTER: Final = "starter"
STARTER_FOLDER: Final = Path(__file__).parent


def model_folder(name: str) -> Path:
    """The folder of a model: that of the starter model for `starter`, else the name as a path."""
    return STARTER_FOLDER if name == STARTER else Path(name)
