"""The base of every JSON document."""

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, PlainSerializer

UtcTime = Annotated[datetime, PlainSerializer(lambda time: time.astimezone(UTC).isoformat(), return_type=str)]
"""A time with its zone, written in UTC as ISO 8601."""


class Document(BaseModel):
    """A JSON document. Fields are keys, in the order printed; a field with a default is an optional key."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    def json_types(self) -> dict[str, Any]:
        """Returns the document as JSON types."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)
