"""The terms of a report: its period and its dimensions."""

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from pydantic import AwareDatetime

from triage.domain.messages import CHECKED


@dataclass(frozen=True, slots=True)
class Period:
    """A period of receipt: from `since`, inclusive, to `until`, exclusive. None leaves that end open."""

    __pydantic_config__: ClassVar = CHECKED
    since: AwareDatetime | None = None
    until: AwareDatetime | None = None


class Dimension(StrEnum):
    """A dimension of a report. The model of a message is that of its current decision."""

    DAY = "day"
    SOURCE = "source"
    ROLE = "role"
    MODEL = "model"
