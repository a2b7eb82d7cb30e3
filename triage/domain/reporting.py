"""The terms of a report: its period and its dimensions."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import ClassVar

from triage.domain.messages import CHECKED


@dataclass(frozen=True, slots=True)
class Period:
    """A period of receipt: from `since`, inclusive, to `until`, exclusive. None leaves that end open.

    Both times have a zone.
    """

    __pydantic_config__: ClassVar = CHECKED
    since: datetime | None = None
    until: datetime | None = None


class Dimension(StrEnum):
    """A dimension of a report. The model of a message is that of its current decision."""

    DAY = "day"
    SOURCE = "source"
    ROLE = "role"
    MODEL = "model"
