"""Text from outside: the ids, names and reasons that senders and people give, and how stored text is shown.

Control and format characters (Unicode categories Cc, Cf, Cs, Co, Zl and Zp) are refused. They can move the cursor of a
terminal, hide or reorder what a person reads, or break a line of a log in two.

An id is compared byte by byte, here and by its sender, so an id that is not in Unicode's normal form NFC is refused
instead of changed: two ids that look the same never become one message, and each id is stored as it was sent. A reason
is only read, so it is normalised.
"""

import re
import unicodedata
from typing import Final

from triage.errors import UsageError

MAX_ID: Final = 200
MAX_WORD: Final = 64
MAX_NOTE: Final = 2000
MAX_LOCALE: Final = 35

UNDETERMINED: Final = "und"
"""BCP 47's tag of a language that is not known: that of a message whose sender names none."""

_FORMULA: Final = re.compile(r"'*[=+\-@\x00-\x1f\x7f-\x9f]", re.DOTALL)
_NUMBER: Final = re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?", re.ASCII)
_REFUSED: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})
_LOCALE: Final = re.compile(r"[A-Za-z]{1,8}(-[A-Za-z0-9]{1,8})*")  # RFC 4647, 2.1
_WORD: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_PATH_STEPS: Final = frozenset({".", ".."})
"""Clients and proxies of HTTP resolve them in a path, also percent-encoded, before the server sees it (RFC 3986)."""


def is_plain(text: str) -> bool:
    """Whether a text has neither control nor format characters. A line break is a control character."""
    return text.isprintable() or not any(unicodedata.category(character) in _REFUSED for character in text)


def check_id(value: str, name: str) -> str:
    """Returns an id of a sender unchanged, for example of a message, a thread, an attachment or a group.

    Args:
        value: the id.
        name: what it is, for the error, such as `message id`.

    Raises:
        UsageError: it is no text, blank, too long, not in NFC, or has control or format characters. The error omits it.
    """
    return _checked(value, name, MAX_ID)


def check_note(value: str, name: str, *, at_most: int = MAX_NOTE) -> str:
    """Returns text that people read, such as a reason or a name in a table, in NFC and without surrounding spaces.

    Raises:
        UsageError: it is no text, blank, too long, or has control or format characters. The error omits it.
    """
    if isinstance(value, str) and len(value) <= at_most:
        value = unicodedata.normalize("NFC", value).strip()
    return _checked(value, name, at_most)


def check_word(value: str, name: str) -> str:
    """Returns a code unchanged: a source or a role.

    Raises:
        UsageError: it is not 1 to 64 ASCII letters, digits, dots, dashes or underscores, or is `.` or `..`. The error
            omits it.
    """
    if not isinstance(value, str) or not _WORD.fullmatch(value):
        raise UsageError(f"invalid {name}: use 1 to {MAX_WORD} letters, digits, dots, dashes or underscores")
    return check_no_step(value, name)


def check_no_step(value: str, name: str) -> str:
    """Returns an id that can be a part of a path unchanged.

    Raises:
        UsageError: it is `.` or `..`.
    """
    if value in _PATH_STEPS:
        raise UsageError(f"invalid {name}: `.` and `..` cannot be part of a URL: use another id")
    return value


def check_locale(value: str) -> str:
    """Returns a language tag of BCP 47 unchanged, such as `en` or `es-MX`.

    Raises:
        UsageError: it is malformed or longer than the 35 characters that RFC 5646 expects. The error omits it.
    """
    if not isinstance(value, str) or len(value) > MAX_LOCALE or not _LOCALE.fullmatch(value):
        raise UsageError("invalid locale: use a language tag such as `en` or `es-MX` (BCP 47)")
    return value


def printable(text: str) -> str:
    """The text with everything escaped that is not printable, so that it can neither control a terminal nor hide.

    Rows of earlier releases may hold such characters.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def printable_value(value: object) -> object:
    """A value for a page: text as `printable` shows it; numbers and markup are unchanged."""
    return printable(value) if type(value) is str else value


def csv_cell(value: object) -> object:
    """A value for a CSV file, which a spreadsheet does not take for a formula.

    Text that starts with `=`, `+`, `-`, `@` or a control character gets a leading apostrophe; numbers stay numbers.
    """
    is_formula = isinstance(value, str) and _FORMULA.match(value) and not _NUMBER.fullmatch(value)
    return f"'{value}" if is_formula else value


def from_csv_cell(text: str) -> str:
    """The text for which `csv_cell` wrote a cell."""
    is_escaped = text.startswith("'") and _FORMULA.match(text) and not _NUMBER.fullmatch(text)
    return text[1:] if is_escaped else text


def _checked(value: str, name: str, at_most: int) -> str:
    if (
        not isinstance(value, str)
        or not 1 <= len(value) <= at_most
        or value.isspace()
        or not is_plain(value)
        or not unicodedata.is_normalized("NFC", value)
    ):
        raise UsageError(
            f"invalid {name}: use 1 to {at_most} characters in Unicode's form NFC, without control or format characters"
        )
    return value
