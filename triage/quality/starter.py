"""The starter model that ships with the product: for trying it, and a warm start for training. Not for care."""

from pathlib import Path
from typing import Final

STARTER_FOLDER: Final = Path(__file__).with_name("starter")
