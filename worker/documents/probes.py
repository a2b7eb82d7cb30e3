"""What the probes of the HTTP server answer."""

from typing import Literal

from worker.documents.document import Document


class ProbeDocument(Document):
    """The server is alive, or ready: the database responds and the blob store is the right one."""

    status: Literal["alive", "ready"]
