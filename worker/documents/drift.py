"""Drift: recent photos of each source compared with those at the promotion of the live model."""

from typing import Literal
from uuid import UUID

from worker.documents.document import Document, UtcTime


class PeriodDocument(Document):
    """A period of receipt, without its end."""

    since: UtcTime
    until: UtcTime


class DriftedFeatureDocument(Document):
    """One feature of the photos of a source in two periods.

    `psi` is the population stability index, the size of the difference. `adjusted_p_value` accounts for the number of
    sources and features; the feature drifted if it is at most the false alarm rate.
    """

    feature: Literal["score", "retakes", "findings", "formats"]
    psi: float
    p_value: float
    adjusted_p_value: float
    drifted: bool


class SourceDriftDocument(Document):
    """The photos of one source in two periods; `drifted` is null if there are too few. `review` has ids of messages."""

    source: str
    n_reference: int
    n_current: int
    drifted: bool | None
    features: list[DriftedFeatureDocument]
    review: list[UUID]


class DriftDocument(Document):
    """Whether the photos of the last complete week differ from those at the promotion of the live model.

    `judged_from`: when the first week to compare is complete.
    """

    status: Literal["stable", "drift", "unknown"]
    reason: Literal["no_live_model", "too_early", "too_few"] | None
    model: str | None
    promoted_at: UtcTime | None
    judged_from: UtcTime | None
    reference: PeriodDocument | None
    current: PeriodDocument | None
    false_alarm_rate: float
    sources: list[SourceDriftDocument]
