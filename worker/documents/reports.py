"""Reports over many messages."""

from datetime import date
from typing import Any, Literal, Self
from uuid import UUID

from pydantic import ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

from triage.domain.proposals import Proposal
from triage.domain.states import FindingKind
from worker.documents.document import Document, UtcTime


class MessageCountsDocument(Document):
    """Messages by outcome. The retake rate is retakes divided by decided messages."""

    total: int
    pass_: int = Field(alias="pass")
    retake: int
    uncertain: int
    not_assessable: int
    pending: int
    retake_rate: float | None


class ReportGroupDocument(MessageCountsDocument):
    """Messages of one group. The dimensions of the report precede the counts as further keys."""

    model_config = ConfigDict(extra="allow")

    __pydantic_extra__: dict[str, str | None]

    @model_serializer(mode="wrap")
    def _dimensions_first(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {**self.__pydantic_extra__, **serialize(self)}


class PhotoCountsDocument(Document):
    total: int
    pending: int
    in_progress: int
    scored: int
    not_assessable: int


class RetentionCountsDocument(Document):
    photos_purged: int
    messages_forgotten: int


class RequestCountsDocument(Document):
    flagged: int
    claimed: int
    sent: int
    withdrawn: int


class ScoresDocument(Document):
    """The scores of one model: their number, mean and histogram of ten equal bins from 0 to 1."""

    model: str
    weights_sha256: str
    threshold: float
    n: int
    acceptable: int
    mean: float
    histogram: list[int]


class ShadowDocument(Document):
    """How often a shadow model disagrees with the verdicts that decided."""

    model: str
    weights_sha256: str
    n: int
    good_to_bad: int
    bad_to_good: int
    disagreement: float
    mean_score_difference: float


class ArchivedDocument(Document):
    """What the report says about archived threads.

    `messages` of them are counted. `days_left_out` lie in the period in part: their archived threads are not counted.
    """

    messages: int
    days_left_out: list[date]


class ReportDocument(Document):
    """The messages of a period. `reasons` counts photos that fail by their likeliest reason."""

    since: UtcTime | None
    until: UtcTime | None
    messages: MessageCountsDocument
    photos: PhotoCountsDocument
    reasons: dict[FindingKind, int]
    errors: dict[str, int]
    retention: RetentionCountsDocument
    retake_requests: RequestCountsDocument
    overrides: int
    scores: list[ScoresDocument]
    shadows: list[ShadowDocument]
    oldest_pending_seconds: float | None
    archived: ArchivedDocument
    by: list[str]
    groups: list[ReportGroupDocument]


class FlipsDocument(Document):
    """Photos of one day and source whose verdict differs between a rescoring run and the inbox."""

    day: date
    source: str
    photos: int
    good_to_bad: int
    bad_to_good: int


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
    """Whether the photos of the last complete week differ from those at the promotion of the live model."""

    status: Literal["stable", "drift", "unknown"]
    reason: Literal["no_live_model", "too_early", "too_few"] | None
    model: str | None
    promoted_at: UtcTime | None
    reference: PeriodDocument | None
    current: PeriodDocument | None
    false_alarm_rate: float
    sources: list[SourceDriftDocument]


class LabelledShareDocument(Document):
    """k of n messages that a person decided, with Wilson's 95 % interval. Without any, the value is null: unknown."""

    k: int
    n: int
    value: float | None
    interval: tuple[float, float] | None


class OutcomesDocument(Document):
    pass_: int = Field(alias="pass")
    retake: int
    uncertain: int
    not_assessable: int


class BurdenDocument(Document):
    """What a period asks of patients and staff: messages with a retake request, and messages that staff look at.

    `bad_caught` is the share with a request among the messages that a person sent back; `needless` the share that a
    person let pass among the messages with a request that a person decided.
    """

    outcomes: OutcomesDocument
    requests: int
    requests_per_day: float
    staff: int
    staff_per_day: float
    bad_caught: LabelledShareDocument
    needless: LabelledShareDocument


class ChangesDocument(Document):
    """What a scenario changes; what it leaves as it is, is absent or null."""

    threshold: float | None = None
    thresholds_by_photo_count: dict[int, float] | None = None
    model: str | None = None
    max_requests_per_thread: int | None = None
    cooldown_hours: float | None = None
    uncertain_margin: float | None = None


class SimulationDocument(Document):
    """A period under today's settings and under a scenario. `reproduced`: stored decisions that the replay gives."""

    since: UtcTime
    until: UtcTime
    days: float
    messages: int
    left_out: int
    reproduced: LabelledShareDocument
    labelled: int
    model: str | None
    weights_sha256: str | None
    changes: ChangesDocument
    today: BurdenDocument
    scenario: BurdenDocument


class ProposalDocument(Document):
    """A simulation that was saved, and when it was applied."""

    name: str
    saved_at: UtcTime
    saved_by: str
    applied_at: UtcTime | None
    applied_by: str | None
    simulation: SimulationDocument

    @classmethod
    def of(cls, proposal: Proposal) -> Self:
        fields = {name: getattr(proposal, name) for name in cls.model_fields}
        return cls.model_validate(fields)
