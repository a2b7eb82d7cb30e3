"""The starter model, which ships with the product: for trials and as initial weights of a training, not for care."""

from pathlib import Path
from typing import Final

STARTER: Final = "starter"
STARTER_FOLDER: Final = Path(__file__).parent
