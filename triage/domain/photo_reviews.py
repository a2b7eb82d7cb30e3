"""Photo reviews: a sample of photos on which reviewers vote, without scores and without the votes of others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar, Final

from triage.domain.ids import AttachmentId, MessageId, PhotoReviewId, ReviewedPhotoId
from triage.domain.messages import CHECKED
from triage.domain.reporting import Period
from triage.domain.states import FindingKind, Fitzpatrick
from triage.domain.text import check_word
from triage.errors import UsageError

MAX_PHOTOS: Final = 10_000
"""Of a review. Its pages count its photos."""

MAX_VOTES: Final = 10
"""On each photo of a review."""

REASON_LETTERS: Final[Mapping[FindingKind, str]] = {
    FindingKind.DEFOCUS: "f",
    FindingKind.MOTION: "m",
    FindingKind.TOO_DARK: "d",
    FindingKind.TOO_BRIGHT: "b",
    FindingKind.LOW_RESOLUTION: "l",
    FindingKind.COLOUR_CAST: "c",
    FindingKind.BADLY_FRAMED: "g",
    FindingKind.NO_SKIN: "k",
    FindingKind.TOO_FAR: "r",
    FindingKind.TOO_CLOSE: "e",
}
"""The reasons that reviewers can give, each with its key. `y`, `n` and `u` are the votes and undoing."""


class Order(StrEnum):
    """How the photos of a review are drawn: at random, or those whose scores are closest to the threshold."""

    RANDOM = "random"
    NEAR_THRESHOLD = "near_threshold"


class EvenlyBy(StrEnum):
    """What a review has equally many photos of, as far as there are enough."""

    SOURCE = "source"
    FITZPATRICK = "fitzpatrick"


@dataclass(frozen=True, slots=True)
class SamplingRule:
    """Which photos a review gets, and how many people vote on each.

    Attributes:
        size: number of photos; fewer if the period has fewer.
        period: of the scores.
        order: how they are drawn.
        evenly_by: draw equally many of each value.
        source: only photos of this sender.
        fitzpatrick: only photos of patients with these skin types.
        seed: of the draw. The same rule and seed draw the same photos from the same rows.
        votes: how many people vote on each photo. If two were to vote and disagree, a third one votes, too.
        second_share: if one person votes on each photo, the share that gets a second reviewer, drawn at random.
        near: as `second_share`: photos whose score is at most this far from the threshold get a second reviewer, too.
    """

    __pydantic_config__: ClassVar = CHECKED
    size: int
    period: Period = field(default_factory=Period)
    order: Order = Order.RANDOM
    evenly_by: EvenlyBy | None = None
    source: str | None = None
    fitzpatrick: Sequence[Fitzpatrick] = ()
    seed: int = 0
    votes: int = 1
    second_share: float = 0.2
    near: float = 0.05

    def checked(self) -> "SamplingRule":
        """Returns the rule unchanged.

        Raises:
            UsageError: a number is out of range, a time has no zone, or the source is malformed.
        """
        if not 1 <= self.size <= MAX_PHOTOS:
            raise UsageError(f"invalid size: use 1 to {MAX_PHOTOS} photos")
        if not 1 <= self.votes <= MAX_VOTES:
            raise UsageError(f"invalid number of votes: use 1 to {MAX_VOTES} for each photo")
        if not (0 <= self.second_share <= 1 and 0 <= self.near <= 1):
            raise UsageError("invalid share of second reviewers or distance from the threshold: use 0 to 1")
        if not 0 <= self.seed < 2**31:
            raise UsageError("invalid seed: use 0 to 2147483647")
        self.period.check()
        if self.source is not None:
            check_word(self.source, "source")
        return self

    def document(self) -> dict[str, Any]:
        """The rule as JSON types."""
        since, until = self.period.since, self.period.until
        return {
            "size": self.size,
            "since": since and since.isoformat(),
            "until": until and until.isoformat(),
            "order": self.order.value,
            "evenly_by": self.evenly_by and self.evenly_by.value,
            "source": self.source,
            "fitzpatrick": [each.value for each in self.fitzpatrick],
            "seed": self.seed,
            "votes": self.votes,
            "second_share": self.second_share,
            "near": self.near,
        }


@dataclass(frozen=True, slots=True)
class PhotoReview:
    """A photo review and how far it is.

    Attributes:
        rule: the sampling rule as JSON types.
        created_by: actor id of the person who created it.
        closed_at: when it was closed to further votes.
        photos: their number, without those of forgotten messages.
        done: photos that need no further vote.
        votes: on all of them, without withdrawn ones.
    """

    id: PhotoReviewId
    name: str
    rule: Mapping[str, Any]
    created_by: str
    created_at: datetime
    closed_at: datetime | None
    photos: int
    done: int
    votes: int


@dataclass(frozen=True, slots=True)
class ReviewedPhoto:
    """A photo of a review, as its reviewer may see it.

    Attributes:
        voted: how many photos of the review this reviewer has voted on.
        left: how many more photos wait for this reviewer, this one included.
    """

    id: ReviewedPhotoId
    review: str
    message_id: MessageId
    attachment_id: AttachmentId
    voted: int
    left: int
