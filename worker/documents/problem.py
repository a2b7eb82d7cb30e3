"""What the HTTP interface answers when a request fails (RFC 9457)."""

from typing import Literal

from worker.codes import Code
from worker.documents.document import Document


class ProblemDocument(Document):
    """A problem. `code` is stable; `detail` is one line for people: what is wrong and what to do."""

    type: Literal["about:blank"]
    title: str
    status: int
    code: Code
    detail: str
