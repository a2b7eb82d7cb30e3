"""Opting a thread out of retake requests."""

from typing import TYPE_CHECKING, Self
from uuid import UUID

from worker.documents.document import Call, Document

if TYPE_CHECKING:  # not imported at run time: SQLAlchemy
    from triage.retakes.opt_out import ThreadOptOut


class ThreadToOptOut(Call):
    """A thread to opt out. `thread` is its id, or that of a message without a thread."""

    source: str
    thread: str


class OptOut(ThreadToOptOut):
    """What `threads.opt_out` takes. `thread` is the id of the thread, or of a message without a thread."""

    by: str


class ThreadOptOutDocument(Document):
    """Whether a thread is opted out now, whether this call changed it, and the requests that it withdrew."""

    source: str
    thread: str
    opted_out: bool
    changed: bool
    requests_withdrawn: list[UUID]

    @classmethod
    def of(cls, opt_out: "ThreadOptOut") -> Self:
        return cls(
            source=opt_out.source,
            thread=opt_out.thread,
            opted_out=opt_out.opted_out,
            changed=opt_out.changed,
            requests_withdrawn=list(opt_out.requests_withdrawn),
        )
