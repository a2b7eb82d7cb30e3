"""Photo reviews: samples of photos, and the votes of reviewers on them."""

from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, SmallInteger, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from triage.storage.base import Base, key, now

TO_VOTE: Final = text("votes < wanted")
COUNTED_VOTE: Final = text("withdrawn_at IS NULL")


class PhotoReview(Base):
    """A sample of photos on which reviewers vote, with the rule by which it was drawn."""

    __tablename__ = "photo_review"
    __table_args__ = (UniqueConstraint("name"),)

    id: Mapped[UUID] = key()
    name: Mapped[str]
    rule: Mapped[dict[str, Any]]
    created_by: Mapped[str]
    created_at: Mapped[datetime] = now()
    closed_at: Mapped[datetime | None]


class ReviewedPhoto(Base):
    """A photo of a review. A person holds it until `lease_until`.

    `reviewers` is how many people were to vote at first, `wanted` how many are to vote now: one more on disagreement.
    `votes` counts the votes that were not withdrawn. Forgetting the message deletes the row with its votes, archiving
    the thread too.
    """

    __tablename__ = "reviewed_photo"
    __table_args__ = (
        UniqueConstraint("review_id", "attachment_id"),
        CheckConstraint("(claimed_by IS NULL) = (lease_until IS NULL)", name="claim"),
        Index(
            "ix_reviewed_photo__to_vote",
            "review_id",
            "place",
            postgresql_where=TO_VOTE,
            info={"query": "photo reviews: the next photo of a reviewer"},
        ),
        Index(
            "ix_reviewed_photo__attachment_id",
            "attachment_id",
            info={"query": "forget, archive: the reviews of a photo"},
        ),
    )

    id: Mapped[UUID] = key()
    review_id: Mapped[UUID] = mapped_column(ForeignKey("photo_review.id"))
    attachment_id: Mapped[UUID] = mapped_column(ForeignKey("attachment.id"))
    place: Mapped[int]
    reviewers: Mapped[int] = mapped_column(SmallInteger)
    wanted: Mapped[int] = mapped_column(SmallInteger)
    votes: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    claimed_by: Mapped[str | None]
    lease_until: Mapped[datetime | None]


class PhotoVote(Base):
    """A person's vote on a photo. It never changes; a vote that the person undid is withdrawn, and counts no longer."""

    __tablename__ = "photo_vote"
    __table_args__ = (
        CheckConstraint("NOT good OR cardinality(reasons) = 0", name="reasons"),
        Index("ix_photo_vote__photo_id", "photo_id", info={"query": "photo reviews: the votes on a photo"}),
        Index(
            "uq_photo_vote__counted",
            "photo_id",
            "actor",
            unique=True,
            postgresql_where=COUNTED_VOTE,
            info={"query": "photo reviews: at most one vote of a person on a photo"},
        ),
    )

    id: Mapped[UUID] = key()
    photo_id: Mapped[UUID] = mapped_column(ForeignKey("reviewed_photo.id"))
    actor: Mapped[str]
    good: Mapped[bool]
    reasons: Mapped[list[str]] = mapped_column(server_default="{}")
    created_at: Mapped[datetime] = now()
    withdrawn_at: Mapped[datetime | None]
