"""The queries of reports about photos: scores by model, shadow models, flips, and reasons.

Each query adds what archived threads left (`triage.storage.archived_counts`) to what it counts in the tables.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Double, func, select, true
from sqlalchemy.orm import Session, aliased

from triage.domain.ids import RunId
from triage.domain.reporting import Period
from triage.domain.states import ArchivedKind, VerdictOrigin
from triage.storage.archived_counts import FAILED, archived, likeliest_reason, score_bin, utc_day
from triage.storage.report_sums import Counts, added, archived_flips, archived_sum, id_since, within
from triage.storage.tables import ArchivedCount, Attachment, Message, ModelVersion, Verdict


@dataclass(frozen=True, slots=True)
class ScoreBin:
    """The verdicts of a model in one bin of scores.

    Attributes:
        number: of the bin, from 1.
        n: number of verdicts.
        total: sum of their scores.
        acceptable: number of acceptable verdicts.
    """

    number: int
    n: int
    total: float
    acceptable: int


@dataclass(frozen=True, slots=True)
class ModelScores:
    """The score bins of a model that are not empty, and its card, which may be malformed."""

    card: dict[str, Any]
    weights_sha256: str
    bins: Sequence[ScoreBin]


@dataclass(frozen=True, slots=True)
class ShadowComparison:
    """The verdicts of a shadow model compared with those that decided.

    Attributes:
        card: of the shadow model; it may be malformed.
        weights_sha256: of the shadow model.
        n: number of photos with both verdicts.
        good_to_bad: photos acceptable to the deciding model only.
        bad_to_good: photos acceptable to the shadow model only.
        mean_difference: mean absolute difference of the scores.
    """

    card: dict[str, Any]
    weights_sha256: str
    n: int
    good_to_bad: int
    bad_to_good: int
    mean_difference: float


@dataclass(frozen=True, slots=True)
class ReasonCount:
    """Photos of one source that failed with the same likeliest reason."""

    source: str
    reason: str
    n: int


def count_reasons(session: Session, period: Period) -> list[ReasonCount]:
    """Counts photos that failed by source and likeliest reason, in the order of sources, the most frequent first."""
    sender = (  # one look-up for each photo that failed: a join would read all photos of the period
        select(Message.source)
        .select_from(Attachment)
        .join(Message, Message.id == Attachment.message_id)
        .where(Attachment.id == Verdict.attachment_id)
        .limit(1)
        .lateral("sender")
    )
    present = (
        select(sender.c.source, likeliest_reason().label("reason"), func.count().label("n"))
        .select_from(Verdict)
        .join(sender, true())
        .where(*FAILED, *within(Verdict.created_at, period))
        .group_by(sender.c.source, likeliest_reason())
    )
    past = (
        select(ArchivedCount.source, ArchivedCount.label.label("reason"), archived_sum().label("n"))
        .where(*archived(ArchivedKind.REASONS, period))
        .group_by(ArchivedCount.source, ArchivedCount.label)
    )
    rows = added(session, present, past, ["source", "reason"])
    return [ReasonCount(**row) for row in sorted(rows, key=lambda row: (row["source"], -row["n"], row["reason"]))]


def scores_by_model(session: Session, period: Period) -> list[ModelScores]:
    """The scores of each model in `N_BINS` bins, in the order of registration."""
    bin_ = score_bin().label("bin")
    present = (
        select(
            Verdict.model_version_id,
            bin_,
            func.count().label("n"),
            func.sum(Verdict.score).label("total"),
            func.count().filter(Verdict.acceptable).label("acceptable"),
        )
        .where(*within(Verdict.created_at, period))
        .group_by(Verdict.model_version_id, bin_)
    )
    past = (
        select(
            ArchivedCount.model_version_id,
            ArchivedCount.bin,
            archived_sum().label("n"),
            func.sum(ArchivedCount.total).label("total"),
            archived_sum("acceptable").label("acceptable"),
        )
        .where(*archived(ArchivedKind.SCORES, period))
        .group_by(ArchivedCount.model_version_id, ArchivedCount.bin)
    )
    rows = added(session, present, past, ["model_version_id", "bin"])
    return [
        ModelScores(
            model.card,
            model.weights_sha256,
            [
                ScoreBin(row["bin"], row["n"], row["total"], row["acceptable"])
                for row in rows
                if row["model_version_id"] == model.id
            ],
        )
        for model in _models_of(session, rows)
    ]


def compare_shadows(session: Session, period: Period) -> list[ShadowComparison]:
    """Compares the verdicts of each shadow model with those that decided."""
    shadow, deciding = aliased(Verdict), aliased(Verdict)
    present: Counts = (
        select(
            shadow.model_version_id,
            func.count().label("n"),
            func.count().filter(deciding.acceptable, ~shadow.acceptable).label("good_to_bad"),
            func.count().filter(~deciding.acceptable, shadow.acceptable).label("bad_to_good"),
            func.sum(func.abs(shadow.score - deciding.score, type_=Double())).label("difference"),
        )
        .join_from(
            shadow,
            deciding,
            (deciding.attachment_id == shadow.attachment_id)
            & (deciding.origin == VerdictOrigin.INBOX)
            & id_since(deciding.id, period),
        )
        .where(shadow.origin == VerdictOrigin.SHADOW, *within(shadow.created_at, period))
        .group_by(shadow.model_version_id)
    )
    past = (
        select(
            ArchivedCount.model_version_id,
            archived_sum().label("n"),
            *archived_flips(),
            func.sum(ArchivedCount.total).label("difference"),
        )
        .where(*archived(ArchivedKind.SHADOWS, period))
        .group_by(ArchivedCount.model_version_id)
    )
    rows = added(session, present, past, ["model_version_id"])
    models = {model.id: model for model in _models_of(session, rows)}
    return [
        ShadowComparison(
            models[row["model_version_id"]].card,
            models[row["model_version_id"]].weights_sha256,
            row["n"],
            row["good_to_bad"],
            row["bad_to_good"],
            row["difference"] / row["n"],
        )
        for row in rows
    ]


def count_flips(session: Session, run_id: RunId) -> list[dict[str, Any]]:
    """Compares the verdicts of a rescoring run with those of the inbox, by day of receipt (UTC) and source.

    Returns:
        `{day, source, photos, good_to_bad, bad_to_good}`, in that order of groups.
    """
    new, old = aliased(Verdict), aliased(Verdict)
    day = utc_day(Message.received_at).label("day")
    present = (
        select(
            day,
            Message.source,
            func.count().label("photos"),
            func.count().filter(old.acceptable, ~new.acceptable).label("good_to_bad"),
            func.count().filter(~old.acceptable, new.acceptable).label("bad_to_good"),
        )
        .join_from(new, old, (old.attachment_id == new.attachment_id) & (old.origin == VerdictOrigin.INBOX))
        .join(Attachment, Attachment.id == new.attachment_id)
        .join(Message, Message.id == Attachment.message_id)
        .where(new.run_id == run_id)
        .group_by(day, Message.source)
    )
    past = (
        select(ArchivedCount.day, ArchivedCount.source, archived_sum().label("photos"), *archived_flips())
        .where(ArchivedCount.run_id == run_id)
        .group_by(ArchivedCount.day, ArchivedCount.source)
    )
    return added(session, present, past, ["day", "source"])


def _models_of(session: Session, rows: Sequence[dict[str, Any]]) -> Sequence[ModelVersion]:
    """The models of some rows, in the order of registration."""
    ids = {row["model_version_id"] for row in rows}
    return session.scalars(select(ModelVersion).where(ModelVersion.id.in_(ids)).order_by(ModelVersion.id)).all()
