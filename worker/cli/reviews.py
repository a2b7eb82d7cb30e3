"""Commands about needless retake requests: `appeal`, `review`, `sample`."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from triage.domain.reporting import period_of_report
from worker.cli.commands import command
from worker.cli.options import TIMES, FiniteRange, by_option
from worker.cli.output import json_option, print_document
from worker.cli.tables import print_line, print_table
from worker.services import open_services

if TYPE_CHECKING:  # not imported at run time: SQLAlchemy
    from triage.retakes.reviews import RecordedReview


@command()
@click.argument("message_id")
@click.option("--source", help="Source of the message, if several sources use the same id.")
@by_option("Who appeals", required=True)
@click.option("--reason", required=True, help="Why the request was needless.")
@json_option
def appeal(message_id: str, source: str | None, by: str, reason: str, *, as_json: bool) -> None:
    """Say that the latest retake request of a message was needless. It stops no request: `override` does."""
    from triage.retakes.reviews import appeal as record_appeal  # deferred: imports SQLAlchemy

    with open_services() as services:
        made = record_appeal(services.sessions, message_id, source=source, by=by, reason=reason)
    _show(made, as_json=as_json)


@command()
@click.argument("message_id")
@click.option("--source", help="Source of the message, if several sources use the same id.")
@click.option("--needless/--needed", required=True, help="Whether one of the photos was good enough.")
@click.option("--answers-appeal", is_flag=True, help="It answers an appeal, and is no review of a random sample.")
@by_option("Who reviews", required=True)
@click.option("--note", help="What the reviewer saw.")
@json_option
def review(
    message_id: str,
    source: str | None,
    by: str,
    note: str | None,
    *,
    needless: bool,
    answers_appeal: bool,
    as_json: bool,
) -> None:
    """Record a review of the latest retake request of a message. `triage sample` proposes which ones to review."""
    from triage.retakes import reviews  # deferred: imports SQLAlchemy

    record = reviews.rule if answers_appeal else reviews.review
    with open_services() as services:
        made = record(services.sessions, message_id, source=source, needless=needless, by=by, note=note)
    _show(made, as_json=as_json)


@command()
@click.option("--for", "purpose", type=click.Choice(["needless"]), required=True, help="What to estimate.")
@click.option("--width", type=FiniteRange(0.01, 0.9), default=0.1, show_default=True, help="Of the 95 % interval.")
@click.option("--since", type=TIMES, help="Requests since this time (UTC). [default: 30 days before --until]")
@click.option("--until", type=TIMES, help="Requests before this time (UTC).")
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True, help="Of the random draw.")
@json_option
def sample(
    purpose: str, width: float, since: datetime | None, until: datetime | None, seed: int, *, as_json: bool
) -> None:
    """Draw retake requests to review, so that the needless share gets an interval of a wanted width."""
    del purpose  # the only one so far
    from triage.reports.sample import sample_needless  # deferred: imports SQLAlchemy

    period = period_of_report(since and since.replace(tzinfo=UTC), until and until.replace(tzinfo=UTC))
    with open_services() as services:
        drawn = sample_needless(services.sessions, period, width=width, seed=seed)
    if as_json:
        from worker.documents.reviews import SampleDocument  # deferred: imports pydantic

        print_document(SampleDocument.of(drawn))
        return
    print_table(
        ("message", "source", "request", "reviewed"),
        ((each.message, each.source, each.id, "yes" if each.is_reviewed else "") for each in drawn.proposed),
    )
    left = sum(not each.is_reviewed for each in drawn.proposed)
    print_line(f"{len(drawn.proposed)} of {drawn.requests} requests drawn, {left} left to review")
    if drawn.size > drawn.requests:
        print_line(f"an interval this narrow needs {drawn.size} requests: take a longer period or a wider interval")


def _show(review: "RecordedReview", *, as_json: bool) -> None:
    if as_json:
        from worker.documents.reviews import ReviewDocument  # deferred: imports pydantic

        print_document(ReviewDocument.of(review))
        return
    judged = "needless" if review.needless else "needed"
    known = "" if review.recorded else " (recorded before)"
    print_line(f"message {review.message_id}: request {review.request_id} {judged}, says {review.actor}{known}")
