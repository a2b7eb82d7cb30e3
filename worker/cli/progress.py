"""Progress on stderr: one line that is overwritten, and nothing where stderr is not a terminal."""

import shutil
import sys
from types import TracebackType
from typing import Final, Self

from triage.domain.text import printable
from worker.cli.tables import fitting, print_text

_BAR_CELLS: Final = 20
_CLEAR: Final = "\r\x1b[K"


class ProgressLine:
    """The line of one wait; it disappears at the end of the `with` block."""

    def __init__(self) -> None:
        self._is_shown = sys.stderr.isatty()
        self._shown = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._write("")

    def show(self, text: str, share: float | None = None) -> None:
        """Replaces the line.

        Args:
            text: what is in progress.
            share: the part that is done, 0 to 1, drawn as a bar; None draws no bar.
        """
        if share is not None:
            done = round(_BAR_CELLS * min(1.0, max(0.0, share)))
            text = f"[{'#' * done}{'.' * (_BAR_CELLS - done)}] {text}"
        self._write(text)

    def _write(self, text: str) -> None:
        if self._is_shown and text != self._shown:
            self._shown = text
            width = shutil.get_terminal_size().columns - 1  # a full line would wrap, and could not be overwritten
            print_text(_CLEAR + fitting(printable(text), width), err=True)
