"""Endpoints of retake requests and opt-outs."""

from datetime import timedelta
from uuid import UUID

from triage.domain.ids import RetakeRequestId
from triage.domain.reporting import period_of_report
from triage.domain.scopes import Scope
from triage.reports.sample import sample_needless
from triage.retakes import requests
from triage.retakes.opt_out import opt_out
from worker.api.endpoint import Call, Endpoints
from worker.documents.opt_out import ThreadOptOutDocument, ThreadToOptOut
from worker.documents.queries import RetakesQuery, SampleQuery
from worker.documents.retakes import (
    AcknowledgedRequestsDocument,
    ClaimedRequestsDocument,
    RequestsToClaim,
    RetakeRequestDocument,
    RetakeRequestsDocument,
    SentRequests,
)
from worker.documents.reviews import SampleDocument

RETAKES = Endpoints("retakes")


@RETAKES.endpoint("GET", "/v1/retakes", scope=Scope.RETAKES_READ)
def list_retakes(call: Call, query: RetakesQuery) -> RetakeRequestsDocument:
    """List retake requests, newest first."""
    found = requests.list_requests(
        call.services.sessions, status=query.status, sources=call.caller.sources, limit=query.limit
    )
    return RetakeRequestsDocument(requests=[RetakeRequestDocument.of(request) for request in found])


@RETAKES.endpoint("GET", "/v1/retakes/sample", scope=Scope.RETAKES_READ)
def sample_retakes(call: Call, query: SampleQuery) -> SampleDocument:
    """Draw retake requests to review, so that the needless share gets an interval of a wanted width. Reproducible."""
    return SampleDocument.of(
        sample_needless(
            call.services.long_reads,
            period_of_report(query.since, query.until),
            width=query.width,
            seed=query.seed,
            sources=call.caller.sources,
        )
    )


@RETAKES.endpoint("POST", "/v1/retakes/claim", scope=Scope.RETAKES_WRITE)
def claim_retakes(call: Call, body: RequestsToClaim) -> ClaimedRequestsDocument:
    """Claim retake requests to send, oldest first. Acknowledge each with its token before its lease expires."""
    lease = timedelta(seconds=body.lease_seconds)
    sources = call.caller.sources if body.source is None else [call.of_own(body.source)]
    return ClaimedRequestsDocument.of(
        requests.claim(call.services.sessions, limit=body.limit, lease=lease, by=call.caller.actor, sources=sources)
    )


@RETAKES.endpoint("POST", "/v1/retakes/acknowledge", scope=Scope.RETAKES_WRITE)
def acknowledge_retakes(call: Call, body: SentRequests) -> AcknowledgedRequestsDocument:
    """Acknowledge that claimed requests were sent. Idempotent."""
    held = [request.to_request() for request in body.requests]
    return AcknowledgedRequestsDocument.of(
        held, requests.acknowledge_all(call.services.sessions, held, by=call.caller.actor)
    )


@RETAKES.endpoint("POST", "/v1/retakes/{request_id}/withdraw", scope=Scope.RETAKES_WRITE)
def withdraw_retake(call: Call, request_id: UUID) -> RetakeRequestDocument:
    """Withdraw a request that is flagged or claimed. Idempotent."""
    caller = call.caller
    return RetakeRequestDocument.of(
        requests.withdraw(call.services.sessions, RetakeRequestId(request_id), by=caller.actor, sources=caller.sources)
    )


@RETAKES.endpoint("POST", "/v1/threads/opt-out", scope=Scope.MESSAGES_WRITE)
def opt_thread_out(call: Call, body: ThreadToOptOut) -> ThreadOptOutDocument:
    """Stop retake requests for a thread. Idempotent; only a person can take it back, by command."""
    services = call.services
    return ThreadOptOutDocument.of(
        opt_out(
            services.sessions,
            source=call.of_own(body.source),
            thread=body.thread,
            by=call.caller.actor,
            policy=services.settings.retake_policy,
        )
    )
