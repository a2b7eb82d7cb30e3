"""The hook through which a caller measures how long each stage takes."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TypeAlias

Timed: TypeAlias = Callable[[str], AbstractContextManager[None]]
"""Returns a context manager that measures a stage: `fetch`, `decode` or `findings` of a photo, `forward` or `write` of
a batch of the inbox. Called from several threads."""


def untimed(_: str) -> AbstractContextManager[None]:
    """Measures nothing."""
    return nullcontext()
