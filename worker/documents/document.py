"""The base of every JSON document."""

from datetime import UTC, datetime
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, PlainSerializer, ValidationError

from triage.errors import UsageError, validation_problems

UtcTime = Annotated[datetime, PlainSerializer(lambda time: time.astimezone(UTC).isoformat(), return_type=str)]
"""A time with its zone, written in UTC as ISO 8601."""


class Document(BaseModel):
    """A JSON document. Fields are keys, in the order printed; a field with a default is an optional key."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    def json_types(self) -> dict[str, Any]:
        """Returns the document as JSON types."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)


class Call(BaseModel):
    """A document that a task takes from a sender. Unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    @classmethod
    def parse(cls, document: object) -> Self:
        """Validates a document.

        Raises:
            UsageError: a field is missing, unknown or of the wrong type. The error names it and omits its value.
        """
        try:
            return cls.model_validate(document)
        except ValidationError as error:
            raise UsageError(f"invalid message: {validation_problems(error)}") from error
