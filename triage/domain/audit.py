"""The audit trail's chain of hashes: positions in it, its flaws and the result of a verification."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self
from uuid import UUID

from triage.domain.messages import CHECKED
from triage.errors import UsageError


@dataclass(frozen=True, slots=True)
class Anchor:
    """A position in the chain and the hash of the event there."""

    __pydantic_config__: ClassVar = CHECKED
    position: int
    hash: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads an anchor from `POSITION:HASH`.

        Raises:
            UsageError: the text has another form.
        """
        match = re.fullmatch(r"(\d{1,18}):([0-9a-f]{64})", text)
        if match is None:
            raise UsageError("invalid anchor: use POSITION:HASH, as printed by a verification")
        return cls(int(match[1]), match[2])

    def __str__(self) -> str:
        return f"{self.position}:{self.hash}"


@dataclass(frozen=True, slots=True)
class Flaw:
    """A defect of the chain at a position.

    Attributes:
        kind: `changed`, `missing`, `reordered`, `cut_off`, `replaced`, or `headless` if the record of the chain's head
            is missing.
    """

    position: int
    kind: str
    event_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Verification:
    """The result of a verification: the number of events read, the position of the last one, and the flaws found."""

    events: int
    head: Anchor
    flaws: Sequence[Flaw]
