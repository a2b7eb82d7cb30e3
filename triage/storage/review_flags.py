"""What is known of a retake request, as expressions that reports and archived counts share."""

from collections.abc import Sequence
from functools import reduce
from operator import add
from typing import Final

from sqlalchemy import ColumnElement, SmallInteger, and_, case, cast, func, or_, select

from triage.domain.states import DecidedBy, FindingKind, Outcome, ReviewKind
from triage.storage.tables import Decision, RequestReview, RetakeRequest

REPORTED: Final = 1
REVIEWED: Final = 2
NEEDLESS: Final = 4
"""Flags of a request: a person appealed or overrode it; it was reviewed; the reviews say that it was needless."""


def request_reason() -> ColumnElement[str]:
    """The reason that a request names first: the likeliest one of its first photo."""
    first = RetakeRequest.photos[0]["reasons"][0]["kind"].astext
    return func.coalesce(first, FindingKind.NO_CLEAR_REASON.value)


def review_flags() -> ColumnElement[int]:
    """What is known of a request, as a sum of `REPORTED`, `REVIEWED` and `NEEDLESS`.

    An appeal counts unless the person who answered it ruled that the request was needed.

    A query that uses it joins the message of the request and its current decision. Several reviews of a request count
    as one: needless if more than half of them say so.
    """
    of_request = RequestReview.request_id == RetakeRequest.id
    says = case((RequestReview.needless, 1.0), else_=0.0)
    share = select(func.avg(says)).where(of_request, RequestReview.kind == ReviewKind.REVIEW).scalar_subquery()
    appeals = select(func.count()).where(of_request, RequestReview.kind == ReviewKind.APPEAL).scalar_subquery()
    ruled = select(func.avg(says)).where(of_request, RequestReview.kind == ReviewKind.RULING).scalar_subquery()
    appealed = and_(appeals > 0, func.coalesce(ruled, 1.0) > 0.5)
    overridden = and_(Decision.decided_by == DecidedBy.PERSON, Decision.outcome == Outcome.PASS)
    flags: Sequence[tuple[ColumnElement[bool], int]] = (
        (or_(appealed, overridden), REPORTED),
        (share.is_not(None), REVIEWED),
        (share > 0.5, NEEDLESS),  # more than half
    )
    values = (case((condition, cast(flag, SmallInteger)), else_=0) for condition, flag in flags)
    return reduce(add, values)
