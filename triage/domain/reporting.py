"""The terms of a report: its period and its dimensions."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import ClassVar, Final

from triage.domain.messages import CHECKED


@dataclass(frozen=True, slots=True)
class Period:
    """A period of receipt: from `since`, inclusive, to `until`, exclusive. None leaves that end open.

    Both times have a zone.
    """

    __pydantic_config__: ClassVar = CHECKED
    since: datetime | None = None
    until: datetime | None = None


NO_MODEL: Final = "no model"
"""What tables call the model of messages that no model decided."""

ABOUT_NO_MODEL: Final = (
    f"{NO_MODEL}: messages that are pending, that a person decided, or that have no photo that a model could score"
)


class Dimension(StrEnum):
    """A dimension of a report. The model of a message is that of its current decision, or None."""

    DAY = "day"
    SOURCE = "source"
    ROLE = "role"
    MODEL = "model"
