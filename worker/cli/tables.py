"""Tables and lines for people: complete in a pipe; on a terminal, columns wrap or are left out to fit its width.

All text for people is printed here, and what is not printable in it is escaped: stored fields, file names and arguments
cannot move the cursor of a terminal, hide text or add a line.

A cell is never cut, and no word is broken: an id is whole or in a hidden column. A table that is too wide for the
terminal wraps its columns of words, then leaves out optional columns and names them in a last line. If the rest is
still too wide, each row becomes a block of `name  value` lines.
"""

import os
import shutil
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Final, Self

import click

from triage.domain.text import printable

_GAP: Final = "  "
_NARROWEST_WORDS: Final = 16
"""A column of words wraps to no fewer characters than this."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Attributes:
        name: the heading.
        priority: 0 for a column that is always shown; of the others, the highest number is left out first.
        wrap: its cells are words, which may be broken into lines at spaces; an id, a date or a number may not.
    """

    name: str
    priority: int = 0
    wrap: bool = False


@dataclass(frozen=True, slots=True)
class Styled:
    """A cell in colour. The colour is left out in a pipe, and where the environment sets `NO_COLOR`."""

    text: str
    colour: str | None = None
    bold: bool = False
    dim: bool = False

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Screen:
    """What text is formatted for; by default a pipe or a file.

    Attributes:
        width: columns of the terminal; None for no limit.
        colour: whether cells and headings keep their style.
    """

    width: int | None = None
    colour: bool = False

    @classmethod
    def of_stdout(cls) -> Self:
        if not sys.stdout.isatty():
            return cls()
        return cls(shutil.get_terminal_size().columns, "NO_COLOR" not in os.environ)

    def lines(self, text: str) -> list[str]:
        """A sentence as lines that fit."""
        escaped = printable(text)
        return wrapped(escaped, self.width) if self.width else [escaped]

    def paint(self, styled: Styled) -> str:
        if not self.colour or not styled.text or not (styled.colour or styled.bold or styled.dim):
            return styled.text
        return click.style(styled.text, fg=styled.colour, bold=styled.bold or None, dim=styled.dim or None)


def print_line(*cells: object, err: bool = False) -> None:
    """Prints cells as one line, two spaces apart; without a cell, an empty line."""
    screen = Screen() if err else Screen.of_stdout()
    print_text(_GAP.join(screen.paint(_cell(cell)) for cell in cells) + "\n", err=err)


def print_table(columns: Sequence[Column | str], rows: Iterable[Sequence[object]]) -> None:
    """Prints a table to stdout; see `format_table`."""
    print_text(format_table(columns, rows, Screen.of_stdout()))


def print_text(text: str, *, err: bool = False) -> None:
    """Prints a text as it is: a table, JSON or a help text, which are escaped where they are made."""
    click.echo(text, nl=False, err=err)  # noqa: TID251  # the one place


def format_table(
    columns: Sequence[Column | str], rows: Iterable[Sequence[object]], screen: Screen | None = None
) -> str:
    """A table as text that ends with a newline.

    Args:
        columns: the columns; a string is a column that is always shown and does not wrap.
        rows: one cell for each column. None is an empty cell, anything else is shown as `str(cell)`.
        screen: the terminal; without one, the table is as wide as its cells.
    """
    screen = screen or Screen()
    headings = [_heading(column) for column in columns]
    cells = [[_cell(cell) for cell in row] for row in rows]
    layout = _Layout.fitting(headings, cells, screen)
    lines = layout.lines(headings, cells) if layout else _blocks(headings, cells, screen)
    return "".join(f"{line}\n" for line in lines)


@dataclass(frozen=True, slots=True)
class _Layout:
    """The columns that are shown (by index) with their widths, and what is left out."""

    widths: dict[int, int]
    screen: Screen

    @classmethod
    def fitting(cls, columns: Sequence[Column], rows: Sequence[Sequence[Styled]], screen: Screen) -> "_Layout | None":
        """The widest layout that fits, or None if even the columns that are always shown do not."""
        texts = [[column.name, *(row[index].text for row in rows)] for index, column in enumerate(columns)]
        widths = {index: max(map(_width, column)) for index, column in enumerate(texts)}
        floors = {index: _floor(texts[index]) if columns[index].wrap else width for index, width in widths.items()}
        while screen.width is not None:
            excess = sum(widths.values()) + len(_GAP) * (len(widths) - 1) - screen.width
            if excess <= sum(widths[index] - floors[index] for index in widths):
                return cls(_narrowed(widths, floors, excess), screen)
            optional = [index for index in widths if columns[index].priority]
            if not optional:
                return None
            del widths[max(optional, key=lambda index: columns[index].priority)]
        return cls(widths, screen)

    def lines(self, columns: Sequence[Column], rows: Sequence[Sequence[Styled]]) -> Iterator[str]:
        yield self._line([Styled(columns[index].name, bold=True) for index in self.widths])
        for row in rows:
            columns_of_lines = [
                wrapped(row[index].text, width) if columns[index].wrap else [row[index].text]
                for index, width in self.widths.items()
            ]
            for parts in zip_longest(*columns_of_lines, fillvalue=""):
                cells = [replace(row[index], text=part) for index, part in zip(self.widths, parts, strict=True)]
                yield self._line(cells)
        if hidden := [column.name for index, column in enumerate(columns) if index not in self.widths]:
            yield f"hidden at {self.screen.width} columns: {', '.join(hidden)} (widen the terminal or pipe the output)"

    def _line(self, cells: Sequence[Styled]) -> str:
        padded = [
            self.screen.paint(cell) + " " * (width - _width(cell.text))
            for cell, width in zip(cells, self.widths.values(), strict=True)
        ]
        return _GAP.join(padded).rstrip()


def _floor(texts: Sequence[str]) -> int:
    """The narrowest width of a column of words: no word is broken."""
    widest_word = max(_width(word) for text in texts for word in text.split(" "))
    return min(max(_NARROWEST_WORDS, widest_word), max(map(_width, texts)))


def _narrowed(widths: dict[int, int], floors: dict[int, int], excess: int) -> dict[int, int]:
    """Takes the excess from columns above their floor, always from the widest."""
    widths = dict(widths)
    for _ in range(excess):
        widest = max((index for index in widths if widths[index] > floors[index]), key=lambda index: widths[index])
        widths[widest] -= 1
    return widths


def _blocks(columns: Sequence[Column], rows: Sequence[Sequence[Styled]], screen: Screen) -> Iterator[str]:
    """Each row as lines of `name  value`, with an empty line between rows."""
    names = max(_width(column.name) for column in columns)
    for number, row in enumerate(rows):
        if number:
            yield ""
        for column, cell in zip(columns, row, strict=True):
            name = screen.paint(Styled(column.name, bold=True)) + " " * (names - _width(column.name))
            left = (screen.width or 0) - names - len(_GAP)
            for part in wrapped(cell.text, left) if column.wrap else [cell.text]:
                yield f"{name}{_GAP}{screen.paint(replace(cell, text=part))}".rstrip()
                name = " " * names


def _heading(column: Column | str) -> Column:
    if isinstance(column, str):
        return Column(printable(column))
    return replace(column, name=printable(column.name))


def _cell(value: object) -> Styled:
    if isinstance(value, Styled):
        return replace(value, text=printable(value.text))
    return Styled("" if value is None else printable(str(value)))


def wrapped(text: str, width: int) -> list[str]:
    """Lines of at most `width` columns, broken at spaces; a longer word has a line that is too long."""
    lines: list[str] = []
    for word in text.split(" "):
        if lines and _width(lines[-1]) + 1 + _width(word) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def fitting(text: str, width: int) -> str:
    """The first words of a text, as many as fit; no word is cut."""
    first = wrapped(text, width)[0]
    return first if _width(first) <= width else ""


def _width(text: str) -> int:
    """Columns on a terminal: two for a wide East Asian character, none for a combining one."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
