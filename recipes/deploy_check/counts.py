"""What became of the messages of a fault: nothing may be lost or doubled."""

from dataclasses import dataclass
from typing import Final

from recipes.deploy_check.engine import Stack
from recipes.deploy_check.photos import Messages
from tests.system.chaos.checks import DOUBLED, LOST
from triage.errors import ErrorCode

_OPEN: Final = (
    "SELECT (SELECT count(*) FROM attachment WHERE status IN ('pending', 'in_progress')) "
    "+ (SELECT count(*) FROM run WHERE status IN ('pending', 'running')) AS n"
)
_STALL_SECONDS: Final = 180


_RESULTS: Final = """
    SELECT m.external_id AS message, a.external_id AS photo, a.status, a.error_code,
        (SELECT count(*) FROM verdict v WHERE v.attachment_id = a.id) AS verdicts
    FROM attachment a JOIN message m ON m.id = a.message_id
    WHERE m.source = 'check' AND m.external_id ~ '^NAME-[0-9]+$'
"""


@dataclass(frozen=True)
class Row:
    """
    Attributes:
        sent: photos.
        verdicts: photos with a verdict.
        unreadable: photos that went to staff because they cannot be read.
        lost: photos without a result, with a wrong one, or in a message without a decision.
        doubled: second verdicts, decisions, requests or photos.
        refused: attempts to send that were not accepted and were repeated.
    """

    title: str
    sent: int
    verdicts: int
    unreadable: int
    lost: int
    doubled: int
    refused: int
    seconds: float


def settle(stack: Stack) -> None:
    """Waits until every photo has a result.

    Raises:
        CheckError: nothing changed for three minutes.
    """
    left = _open(stack)
    while left:
        before = left
        stack.wait(lambda: _open(stack) < before, f"{before} photos wait", seconds=_STALL_SECONDS)  # noqa: B023
        left = _open(stack)


def count(stack: Stack, messages: Messages, answer: dict[str, int], *, title: str, seconds: float) -> Row:
    """Compares what is stored with what was sent, and counts every violation in the whole database."""
    prefix = next(iter(messages)).rpartition("-")[0]
    rows = stack.query(_RESULTS.replace("NAME", prefix))
    lost = sum(stack.query(f"SELECT ({sql}) AS n")[0]["n"] for sql in LOST.values())
    doubled = sum(stack.query(f"SELECT ({sql}) AS n")[0]["n"] for sql in DOUBLED.values()) + answer["doubled"]
    expected = {(message, photo): good for message, photos in messages.items() for photo, good in photos.items()}
    stored = {(row["message"], row["photo"]): row for row in rows}
    doubled += len(rows) - len(stored) + len(stored.keys() - expected.keys())
    for key, is_readable in expected.items():
        row = stored.get(key)
        if row is None:
            lost += 1
        elif is_readable is not None:
            lost += (row["status"] == "scored") is not is_readable
        else:  # a worker that was lost with it is a loss
            lost += row["error_code"] == ErrorCode.ATTEMPTS_EXHAUSTED
    return Row(
        title=title,
        sent=len(expected),
        verdicts=sum(row["verdicts"] for row in rows),
        unreadable=sum(row["status"] == "not_assessable" for row in rows),
        lost=lost,
        doubled=doubled,
        refused=answer["refused"],
        seconds=seconds,
    )


def _open(stack: Stack) -> int:
    """Photos without a result, and runs that have not ended."""
    [row] = stack.query(_OPEN)
    n: int = row["n"]
    return n
