"""Defects of a table's rows as one error: each text once, with its lines."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Final

from triage.errors import UsageError

_MAX_SHOWN: Final = 20
_MAX_LINES: Final = 10


def refuse(path: Path, defects: Collection[tuple[int, str]]) -> None:
    """
    Args:
        path: of the table.
        defects: lines, and what is wrong in them.

    Raises:
        UsageError: there are defects; the message names the first twenty and counts the rest.
    """
    lines: dict[str, list[int]] = defaultdict(list)
    for line, text in sorted(defects):
        lines[text].append(line)
    texts = [f"{_named(found)}: {text}" for text, found in lines.items()]
    if texts:
        more = f"; and {len(texts) - _MAX_SHOWN} more" if len(texts) > _MAX_SHOWN else ""
        raise UsageError(f"{path}: {'; '.join(texts[:_MAX_SHOWN])}{more}")


def _named(lines: Sequence[int]) -> str:
    if len(lines) == 1:
        return f"line {lines[0]}"
    more = f" and {len(lines) - _MAX_LINES} more" if len(lines) > _MAX_LINES else ""
    return f"lines {', '.join(map(str, lines[:_MAX_LINES]))}{more}"
