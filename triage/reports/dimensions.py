"""What a report can be broken down by."""

from enum import StrEnum


class Dimension(StrEnum):
    """A dimension of a report. A message's model is that of its current decision."""

    DAY = "day"
    SOURCE = "source"
    ROLE = "role"
    MODEL = "model"
