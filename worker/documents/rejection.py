"""The answer of a task that a sender called in vain."""

from typing import Literal, Self

from triage.errors import TriageError
from worker.codes import Code, code_of
from worker.documents.document import Document


class RejectionErrorDocument(Document):
    code: Literal["invalid", "unavailable", "internal"]
    message: str

    @classmethod
    def of(cls, error: TriageError) -> Self:
        match code_of(error):
            case Code.UNAVAILABLE | Code.REFUSED:
                return cls(code="unavailable", message=str(error))
            case Code.INTERNAL:
                return cls(code="internal", message=str(error))
        return cls(code="invalid", message=str(error))


class RejectionDocument(Document):
    """The answer of a task that failed: fix the document if `invalid`, retry if `unavailable`, report `internal`
    as a defect. `invalid` has changed nothing. `unavailable` can have, if the connection was lost during the commit.
    """

    error: RejectionErrorDocument

    @classmethod
    def of(cls, error: TriageError) -> Self:
        return cls(error=RejectionErrorDocument.of(error))
