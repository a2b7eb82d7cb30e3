"""Tasks of message systems: claim, acknowledge and withdraw retake requests, opt a thread out, read the decisions."""

from datetime import timedelta

from triage.domain.ids import RetakeRequestId
from triage.retakes import requests
from triage.retakes.feed import list_decisions
from triage.retakes.opt_out import opt_out
from worker.documents.decisions import DecisionsDocument, DecisionsQuery
from worker.documents.opt_out import OptOut, ThreadOptOutDocument
from worker.documents.retakes import (
    AcknowledgedRequestsDocument,
    Acknowledgement,
    Claim,
    ClaimedRequestsDocument,
    RetakeRequestDocument,
    Withdrawal,
)
from worker.queues import TaskName
from worker.tasks.base import WorkerTask, sender_task


@sender_task(TaskName.CLAIM)
def claim(self: WorkerTask, document: object) -> ClaimedRequestsDocument:
    """Claims retake requests. A sender that receives no answer claims again when the lease has expired."""
    call = Claim.parse(document)
    lease = timedelta(seconds=call.lease_seconds)
    sources = None if call.source is None else [call.source]
    return ClaimedRequestsDocument.of(
        requests.claim(self.services.sessions, limit=call.limit, lease=lease, by=call.by, sources=sources)
    )


@sender_task(TaskName.ACKNOWLEDGE)
def acknowledge(self: WorkerTask, document: object) -> AcknowledgedRequestsDocument:
    """Records that claimed requests were sent. Idempotent."""
    call = Acknowledgement.parse(document)
    held = [request.to_request() for request in call.requests]
    return AcknowledgedRequestsDocument.of(held, requests.acknowledge_all(self.services.sessions, held, by=call.by))


@sender_task(TaskName.WITHDRAW)
def withdraw(self: WorkerTask, document: object) -> RetakeRequestDocument:
    """Withdraws a request that is flagged or claimed."""
    call = Withdrawal.parse(document)
    return RetakeRequestDocument.of(requests.withdraw(self.services.sessions, RetakeRequestId(call.id), by=call.by))


@sender_task(TaskName.OPT_OUT)
def opt_thread_out(self: WorkerTask, document: object) -> ThreadOptOutDocument:
    """Stops retake requests for a thread. Idempotent. Only a person can take it back, by command."""
    call = OptOut.parse(document)
    services = self.services
    return ThreadOptOutDocument.of(
        opt_out(
            services.sessions,
            source=call.source,
            thread=call.thread,
            by=call.by,
            policy=services.settings.retake_policy,
        )
    )


@sender_task(TaskName.DECISIONS)
def decisions(self: WorkerTask, document: object) -> DecisionsDocument:
    """Returns a page of the feed of decisions."""
    query = DecisionsQuery.parse(document)
    return DecisionsDocument.of(list_decisions(self.services.sessions, after=query.after, limit=query.limit))
