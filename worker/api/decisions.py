"""Endpoints of decisions and reports."""

from starlette.responses import HTMLResponse, JSONResponse, Response

from triage.domain.reporting import compared_period, period_of_report
from triage.domain.scopes import Scope
from triage.reports.csv_table import render_csv
from triage.reports.html import render_html
from triage.reports.summary import report
from triage.retakes.feed import list_decisions
from triage.retakes.override import override
from triage.retakes.reviews import appeal, review, rule
from worker.api.endpoint import Call, Endpoints
from worker.documents.decisions import DecisionsDocument, DecisionsQuery
from worker.documents.messages import OverrideDocument
from worker.documents.override_call import OverrideCall
from worker.documents.queries import ReportQuery
from worker.documents.reports import ReportDocument
from worker.documents.reviews import AppealCall, ReviewCall, ReviewDocument

DECISIONS = Endpoints("decisions")
_PAGE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


@DECISIONS.endpoint("GET", "/v1/decisions", scope=Scope.DECISIONS_READ)
def read_decisions(call: Call, query: DecisionsQuery) -> DecisionsDocument:
    """Read the decisions that follow a cursor, each exactly once."""
    return DecisionsDocument.of(
        list_decisions(call.services.sessions, after=query.after, sources=call.caller.sources, limit=query.limit)
    )


@DECISIONS.endpoint("POST", "/v1/overrides", scope=Scope.DECISIONS_WRITE)
def override_message(call: Call, body: OverrideCall) -> OverrideDocument:
    """Decide a message for a person. No model changes that decision later."""
    services = call.services
    return OverrideDocument.of(
        override(
            services.sessions,
            body.message_id,
            body.outcome,
            source=call.of_own(body.source),
            by=f"{call.caller.actor}/{body.by}",
            reason=body.reason,
            policy=services.settings.retake_policy,
        )
    )


@DECISIONS.endpoint("POST", "/v1/appeals", scope=Scope.DECISIONS_WRITE)
def appeal_request(call: Call, body: AppealCall) -> ReviewDocument:
    """Say for a person that the latest retake request of a message was needless."""
    source, by = call.of_own(body.source), f"{call.caller.actor}/{body.by}"
    return ReviewDocument.of(appeal(call.services.sessions, body.message_id, source=source, by=by, reason=body.reason))


@DECISIONS.endpoint("POST", "/v1/reviews", scope=Scope.DECISIONS_WRITE)
def review_request(call: Call, body: ReviewCall) -> ReviewDocument:
    """Say for a person whether the latest retake request of a message was needless, after a look at its photos."""
    record = rule if body.answers_appeal else review
    return ReviewDocument.of(
        record(
            call.services.sessions,
            body.message_id,
            source=call.of_own(body.source),
            needless=body.needless,
            by=f"{call.caller.actor}/{body.by}",
            note=body.note,
        )
    )


@DECISIONS.endpoint(
    "GET", "/v1/report", scope=Scope.REPORTS_READ, answers=ReportDocument, also=("text/csv", "text/html")
)
def read_report(call: Call, query: ReportQuery) -> Response:
    """Report messages by outcome, the retake rate, scores and pending work, as JSON, CSV or HTML."""
    period = period_of_report(query.since, query.until)
    other = compared_period(query.compare_to, period) if query.compare_to else None
    summary = report(
        call.services.long_reads, period, query.dimensions(), answer_days=query.answer_days, compared_to=other
    )
    if query.format == "csv":
        return Response(render_csv(summary), media_type="text/csv")
    if query.format == "html":
        return HTMLResponse(render_html(summary), headers={"Content-Security-Policy": _PAGE_POLICY})
    return JSONResponse(ReportDocument.model_validate(summary).json_types())
