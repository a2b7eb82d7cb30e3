"""Output of commands: one JSON document, or text for people. Tables are in `worker.cli.tables`."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from triage.domain.replies import Reply
from triage.domain.states import Outcome
from triage.errors import UsageError
from worker.cli.tables import Styled, print_line, print_text, wrapped

if TYPE_CHECKING:
    from triage.dataset.unread import UnreadPhoto
    from worker.documents.document import Document

_UNREAD_SHOWN: Final = 20

_REPLY_WIDTH: Final = 76  # with the indent, it fits a terminal of 80 columns

_OUTCOME_COLOURS: Final = {
    Outcome.PASS: "green",
    Outcome.RETAKE: "red",
    Outcome.UNCERTAIN: "yellow",
    Outcome.NOT_ASSESSABLE: "magenta",
}

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


def print_json(document: object) -> None:
    """Prints JSON types as one JSON document."""
    print_text(json_text(document))


def json_text(document: object) -> str:
    """JSON types as one JSON document that ends with a newline. JSON's own escapes replace what is not printable."""
    text = json.dumps(document, indent=2, ensure_ascii=False)
    lines = ("".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in line) for line in text.split("\n"))
    return "".join(f"{line}\n" for line in lines)


def print_document(document: "Document | Sequence[Document] | Mapping[str, Document]") -> None:
    """Prints a document, or several in a list or by name, as one JSON document."""
    if isinstance(document, Sequence):
        print_json([each.json_types() for each in document])
    elif isinstance(document, Mapping):
        print_json({name: each.json_types() for name, each in document.items()})
    else:
        print_json(document.json_types())


def count(number: int, noun: str) -> str:
    """A number with its noun in singular or plural: `1 photo`, `2 photos`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def print_unread(unread: "Sequence[UnreadPhoto]", *, err: bool = False) -> None:
    """Prints a line for each photo that was left out, at most twenty."""
    for each in unread[:_UNREAD_SHOWN]:
        print_line(f"not assessable: {each.path}: {each.why}", err=err)
    if len(unread) > _UNREAD_SHOWN:
        print_line(f"and {len(unread) - _UNREAD_SHOWN} more", err=err)


def account(photos: int, codes: Iterable[str], skipped: Mapping[str, int]) -> str:
    """One line that accounts for all inputs of a scoring run: how many were read and scored, and why others were not.

    Args:
        photos: number of files that were read.
        codes: the error code of each of them that was not scored.
        skipped: numbers of files that were not read, by reason.
    """
    reasons = Counter(codes)
    text = f"{count(photos, 'photo')} read: {photos - reasons.total()} scored, {reasons.total()} not assessable"
    if reasons:
        text += f" ({', '.join(f'{code} {n}' for code, n in reasons.most_common())})"
    left_out = ", ".join(f"{n} {reason}" for reason, n in skipped.items() if n)
    return f"{text}; not read: {left_out or 'none'}"


def write_text(path: Path, text: str) -> None:
    """Writes a file.

    Raises:
        UsageError: the path is not writable.
    """
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Writes a file.

    Raises:
        UsageError: the path is not writable.
    """
    try:
        path.write_bytes(data)
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: the file cannot be written: check the path and its permissions") from error


def print_reply(reply: Reply) -> None:
    """Prints what a patient reads, indented."""
    for paragraph in (reply.subject, *reply.text.split("\n\n")):
        print_line()
        for line in wrapped(paragraph, _REPLY_WIDTH):
            print_line(f"    {line}")


def outcome_text(outcome: str | None) -> Styled:
    """An outcome in its colour."""
    if outcome is None:
        return Styled("pending", dim=True)
    return Styled(outcome, _OUTCOME_COLOURS[Outcome(outcome)], bold=outcome == Outcome.RETAKE)


def _finding_text(finding: Mapping[str, Any]) -> str:
    """A finding with its probability, or with its level where it is only measured."""
    words = str(finding["kind"]).replace("_", " ")
    if finding["kind"] == "no_clear_reason":
        return words
    probability = finding["probability"]
    return f"{words} ({finding['level']})" if probability is None else f"{words} ({100 * probability:.0f} %)"


def findings_text(findings: Sequence[Mapping[str, Any]], *, acceptable: bool) -> Styled:
    """Why a photo fails, in a few words. The findings of an acceptable photo are advice, and dimmed."""
    words = ", ".join(map(_finding_text, findings))
    if acceptable:
        return Styled(words, dim=True)
    return Styled(words or "no single cause measured")


def percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"


def local_time(value: datetime | str, timespec: str = "minutes") -> str:
    """A time for people: in the local time zone, with the zone's name. JSON has UTC instead.

    Args:
        value: an aware time, or one in ISO format.
        timespec: `minutes` or `seconds`.
    """
    local = (datetime.fromisoformat(value) if isinstance(value, str) else value).astimezone()
    return f"{local.replace(tzinfo=None).isoformat(' ', timespec)} {local:%Z}"
