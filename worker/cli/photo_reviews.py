"""`triage photo-reviews`: creates and follows reviews in which people vote blind on photos, in the console."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from triage.domain.photo_reviews import MAX_PHOTOS, MAX_VOTES, EvenlyBy, Order, SamplingRule
from triage.domain.reporting import period_of_report
from triage.domain.states import Fitzpatrick
from worker.cli.commands import group
from worker.cli.options import TIMES, FiniteRange, by_option
from worker.cli.output import count, json_option, local_time, percent, print_document
from worker.cli.tables import Column, print_line, print_table
from worker.services import open_services

if TYPE_CHECKING:  # not imported at run time: SQLAlchemy
    from triage.domain.photo_reviews import PhotoReview
    from triage.statistics.confidence import Interval

_UNIT = FiniteRange(0, 1)


@group()
def photo_reviews() -> None:
    """Create and follow blind reviews of photos. Reviewers vote in the staff console."""


@photo_reviews.command()
@click.argument("name")
@click.option("--size", type=click.IntRange(1, MAX_PHOTOS), default=100, show_default=True, help="Number of photos.")
@click.option(
    "--order",
    type=click.Choice([each.value for each in Order]),
    default=Order.RANDOM.value,
    show_default=True,
    help="Draw at random, or the photos whose scores are closest to the threshold.",
)
@click.option("--evenly-by", type=click.Choice([each.value for each in EvenlyBy]), help="Equally many of each value.")
@click.option("--source", help="Only photos of this source.")
@click.option(
    "--fitzpatrick",
    type=click.Choice([each.value for each in Fitzpatrick]),
    multiple=True,
    help="Only photos of patients with this skin type. Repeatable.",
)
@click.option("--since", type=TIMES, help="Photos scored since this time (UTC). [default: 30 days before --until]")
@click.option("--until", type=TIMES, help="Photos scored before this time (UTC).")
@click.option("--votes", type=click.IntRange(1, MAX_VOTES), default=1, show_default=True, help="On each photo.")
@click.option(
    "--second-share",
    type=_UNIT,
    default=0.2,
    show_default=True,
    help="With one vote on each photo: the share that gets a second one.",
)
@click.option(
    "--near",
    type=_UNIT,
    default=0.05,
    show_default=True,
    help="With one vote on each photo: a second one also for scores at most this far from the threshold.",
)
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True, help="Of the random draw.")
@by_option("Who creates it")
@json_option
def create(
    name: str,
    size: int,
    order: str,
    evenly_by: str | None,
    source: str | None,
    fitzpatrick: tuple[str, ...],
    since: datetime | None,
    until: datetime | None,
    votes: int,
    second_share: float,
    near: float,
    seed: int,
    by: str,
    *,
    as_json: bool,
) -> None:
    """Draw the photos of the review NAME from those that were scored."""
    from triage.photo_reviews import sets  # deferred: imports SQLAlchemy

    rule = SamplingRule(
        size=size,
        period=period_of_report(since and since.replace(tzinfo=UTC), until and until.replace(tzinfo=UTC)),
        order=Order(order),
        evenly_by=EvenlyBy(evenly_by) if evenly_by else None,
        source=source,
        fitzpatrick=[Fitzpatrick(each) for each in fitzpatrick],
        seed=seed,
        votes=votes,
        second_share=second_share,
        near=near,
    )
    with open_services() as services:
        created = sets.create(services.sessions, name, rule, by=by)
    if as_json:
        from worker.documents.photo_reviews import PhotoReviewDocument  # deferred: imports pydantic

        print_document(PhotoReviewDocument.of(created))
    else:
        print_line(f"photo review {created.name}: {count(created.photos, 'photo')}, ready for votes in the console")


@photo_reviews.command("list")
@json_option
def list_(*, as_json: bool) -> None:
    """Show all photo reviews, the newest first."""
    from triage.photo_reviews import sets  # deferred: imports SQLAlchemy

    with open_services() as services:
        found = sets.list_reviews(services.sessions)
    if as_json:
        from worker.documents.photo_reviews import PhotoReviewDocument  # deferred: imports pydantic

        print_document([PhotoReviewDocument.of(review) for review in found])
        return
    print_table(
        ("review", "state", "photos", "done", "votes", Column("created", 1)),
        (
            (
                each.name,
                "closed" if each.closed_at else "open",
                each.photos,
                each.done,
                each.votes,
                local_time(each.created_at),
            )
            for each in found
        ),
    )


@photo_reviews.command()
@click.argument("name")
@json_option
def show(name: str, *, as_json: bool) -> None:
    """Show how far a review is and how well its reviewers agree. Do not show it to people who still vote."""
    from triage.photo_reviews import sets  # deferred: imports SQLAlchemy
    from triage.photo_reviews.agreement import agreement  # deferred: imports numpy

    with open_services() as services:
        found = agreement(services.sessions, sets.find_by_name(services.sessions, name).id)
    if as_json:
        from worker.documents.photo_reviews import PhotoReviewAgreementDocument  # deferred: imports pydantic

        print_document(PhotoReviewAgreementDocument.of(found))
        return
    print_line(_progress(found.review))
    print_line(f"all votes agree: {percent(found.observed.value)} of {found.observed.n} photos")
    print_line(f"Krippendorff's alpha {_estimate(found.alpha, found.alpha_interval)}")
    if found.reviewers:
        print_line()
        print_table(("reviewer", "votes", "good"), ((each.reviewer, each.votes, each.good) for each in found.reviewers))
    if found.pairs:
        print_line()
        print_table(
            ("reviewers", "photos", "agreement", "kappa"),
            (
                (
                    " and ".join(pair.reviewers),
                    pair.n,
                    percent(pair.agreed / pair.n),
                    _estimate(pair.kappa, pair.interval),
                )
                for pair in found.pairs
            ),
        )


@photo_reviews.command()
@click.argument("name")
@by_option("Who closes it")
def close(name: str, by: str) -> None:
    """Take no further votes for a review, so that its threads can be archived. It cannot be opened again."""
    from triage.photo_reviews import sets  # deferred: imports SQLAlchemy

    with open_services() as services:
        found = sets.find_by_name(services.sessions, name)
        sets.close(services.sessions, found.id, by=by)
    print_line(f"photo review {name}: closed")


def _progress(review: "PhotoReview") -> str:
    state = "closed" if review.closed_at else "open"
    return f"{state}: {review.done} of {count(review.photos, 'photo')} done, {count(review.votes, 'vote')}"


def _estimate(value: float | None, interval: "Interval | None") -> str:
    if value is None:
        return "-"
    return f"{value:.2f}" if interval is None else f"{value:.2f} ({interval[0]:.2f} to {interval[1]:.2f})"
