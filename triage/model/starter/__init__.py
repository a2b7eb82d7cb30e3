"""The starter model that ships with the product: for trying it, and a warm start for training. Not for care."""

from pathlib import Path
from typing import Final

STARTER: Final = "starter"
STARTER_FOLDER: Final = Path(__file__).parent


def model_folder(name: str) -> Path:
    """The folder of a model that a user names: `starter`, or a path."""
    return STARTER_FOLDER if name == STARTER else Path(name)
