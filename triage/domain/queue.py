"""Messages that wait for a person."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import ClassVar, Final
from uuid import UUID

from triage.domain.ids import MessageId
from triage.domain.messages import CHECKED
from triage.domain.states import FindingKind, Outcome, Reason, WaitingState

WAITING_OUTCOMES: Final = (Outcome.UNCERTAIN, Outcome.NOT_ASSESSABLE)
"""The outcomes that leave the next step to a person."""


class Ground(StrEnum):
    """Why a person decides. Stable names: they start the note of the decision."""

    SHARP_ENOUGH = "sharp_enough"
    OTHER_PHOTO = "other_photo"
    URGENT = "urgent"
    ASKED_OTHERWISE = "asked_otherwise"
    BLURRED = "blurred"
    TOO_DARK = "too_dark"
    TOO_BRIGHT = "too_bright"
    COLOURS = "colours"
    TOO_FAR = "too_far"
    TOO_CLOSE = "too_close"
    CUT_OFF = "cut_off"
    NOT_THE_SKIN = "not_the_skin"
    UNREADABLE = "unreadable"
    OTHER = "other"


GROUNDS: Final = {
    Outcome.PASS: (Ground.SHARP_ENOUGH, Ground.OTHER_PHOTO, Ground.URGENT, Ground.ASKED_OTHERWISE, Ground.OTHER),
    Outcome.RETAKE: (
        Ground.BLURRED,
        Ground.TOO_DARK,
        Ground.TOO_BRIGHT,
        Ground.COLOURS,
        Ground.TOO_FAR,
        Ground.TOO_CLOSE,
        Ground.CUT_OFF,
        Ground.NOT_THE_SKIN,
        Ground.UNREADABLE,
        Ground.OTHER,
    ),
}
"""The grounds of each decision."""

NAMED_KINDS: Final[Mapping[Ground, FindingKind]] = {
    Ground.BLURRED: FindingKind.DEFOCUS,
    Ground.TOO_DARK: FindingKind.TOO_DARK,
    Ground.TOO_BRIGHT: FindingKind.TOO_BRIGHT,
    Ground.COLOURS: FindingKind.COLOUR_CAST,
    Ground.TOO_FAR: FindingKind.TOO_FAR,
    Ground.TOO_CLOSE: FindingKind.TOO_CLOSE,
    Ground.CUT_OFF: FindingKind.BADLY_FRAMED,
    Ground.NOT_THE_SKIN: FindingKind.NO_SKIN,
    Ground.UNREADABLE: FindingKind.NO_CLEAR_REASON,
}
"""What a ground says to the patient. `Ground.OTHER` says what was measured."""

UNDONE: Final = "undone: the previous decision holds again"
"""The note of a decision that restores the one before."""


def note_of(ground: Ground, words: str = "") -> str:
    """The note of a decision: its ground, and further words."""
    return f"{ground.value}: {words}" if words.strip() else ground.value


def ground_of(note: str | None) -> tuple[Ground | None, str]:
    """The ground and the further words of a note; no ground if the note was written outside of the console.

    >>> ground_of("blurred: the mole")
    (<Ground.BLURRED: 'blurred'>, 'the mole')
    """
    first, _, words = (note or "").partition(": ")
    return (Ground(first), words) if first in list(Ground) else (None, note or "")


def tells_quality(ground: Ground | None) -> bool:
    """Whether a decision with this ground says how good the photo is, so that it is a label for training."""
    return ground in _OF_QUALITY


_OF_QUALITY: Final = {Ground.SHARP_ENOUGH, *NAMED_KINDS} - {Ground.UNREADABLE}


@dataclass(frozen=True, slots=True)
class Place:
    """The place of a message in the queue: the oldest comes first."""

    __pydantic_config__: ClassVar = CHECKED
    since: datetime
    id: UUID


@dataclass(frozen=True, slots=True)
class WaitingMessage:
    """A message that waits for a person.

    Attributes:
        message: the sender's id of the message.
        model: name of the model that decided it; None if no model did.
        since: when the message was received, or its request appealed.
        waited: how long ago that was, by the clock of the database.
        photos: number of its photos.
        claimed_by: actor id of the person who holds it; None if no one does.
        claimed_until: when the claim ends.
        assigned_to: actor id of the person to whom a colleague has sent it.
    """

    id: MessageId
    source: str
    message: str
    state: WaitingState
    reason: Reason
    model: str | None
    since: datetime
    waited: timedelta
    photos: int
    claimed_by: str | None
    claimed_until: datetime | None
    assigned_to: str | None

    @property
    def place(self) -> Place:
        return Place(self.since, self.id)


@dataclass(frozen=True, slots=True)
class WaitingPage:
    """A page of the queue.

    Attributes:
        following: after which place the next page begins; None on the last page.
        total: number of all messages that the filters select, up to `COUNTED`.
    """

    messages: Sequence[WaitingMessage]
    following: Place | None
    total: int


COUNTED: Final = 1000
"""Counting more would read the whole queue for each page."""
