"""What an override takes over HTTP."""

from typing import Literal

from triage.domain.states import Outcome
from worker.documents.document import Call


class OverrideCall(Call):
    """A person's decision on a message. `by` is an opaque id of the person; the audit trail records `client/by`."""

    source: str
    message_id: str
    outcome: Literal[Outcome.PASS, Outcome.RETAKE]
    reason: str
    by: str
