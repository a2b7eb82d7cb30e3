"""Samples of retake requests to review, large enough for an interval of a wanted width."""

from collections.abc import Sequence
from dataclasses import dataclass

from triage.domain.reporting import Period
from triage.domain.text import check_word
from triage.errors import UsageError
from triage.reports.needless import needless
from triage.statistics.proportions import Share, sample_size
from triage.storage import request_fates, request_reviews
from triage.storage.database import Sessions
from triage.storage.request_reviews import ProposedRequest
from triage.storage.use_case import use_case


@dataclass(frozen=True, slots=True)
class Sample:
    """Requests to review.

    Attributes:
        requests: of the period.
        expected_share: the needless share for which the size is planned.
        size: requests that the wanted width needs; more than `requests` if the period has too few.
        proposed: the sample, in the order in which it was drawn.
    """

    requests: int
    expected_share: float
    size: int
    proposed: Sequence[ProposedRequest]


@use_case
def sample_needless(
    sessions: Sessions, period: Period, *, width: float, seed: int = 0, sources: Sequence[str] | None = None
) -> Sample:
    """Draws requests at random to review, so that the needless share gets an interval of this width. Reproducible.

    The same period and seed give the same sample, and a smaller width continues it. Without reviews the size is planned
    for a share of .5, where the interval is widest; with reviews, for the share in their interval that is nearest .5.

    Args:
        sessions: of any role.
        period: of the requests.
        width: of Wilson's 95 % interval from its lower to its upper end, .01 to .9.
        seed: of the draw.
        sources: draw from requests on messages of these only.

    Raises:
        UsageError: `width` is out of range, a time of the period has no zone, or a source is malformed.
    """
    if not 0.01 <= width <= 0.9:  # 38,000 requests; a handful
        raise UsageError("invalid width: use .01 to .9")
    period.check()
    for source in sources or ():
        check_word(source, "source")
    with sessions() as session:
        counts = request_fates.count_reviews(session, period)
        reviewed = needless([count for count in counts if sources is None or count.source in sources])
        share = _nearest_half(Share(reviewed["needless"], reviewed["reviewed"]))
        size = sample_size(width, share)
        total, proposed = request_reviews.draw(session, period, seed=seed, n=size, sources=sources)
    return Sample(total, share, size, proposed)


def _nearest_half(share: Share) -> float:
    low, high = share.interval or (0.0, 1.0)
    return min(max(low, 0.5), high)
