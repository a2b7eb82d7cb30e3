"""The report of a period."""

from datetime import date
from typing import Any

from pydantic import ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

from triage.domain.states import FindingKind, Reason
from worker.documents.document import Document, UtcTime
from worker.documents.drift import DriftDocument

Interval = tuple[float, float]
"""The ends of a 95 % interval."""


class MessageCountsDocument(Document):
    """Messages by outcome. The retake rate is retakes divided by decided messages, with its 95 % interval (Wilson)."""

    total: int
    pass_: int = Field(alias="pass")
    retake: int
    uncertain: int
    not_assessable: int
    pending: int
    retake_rate: float | None
    interval: Interval | None


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
    """The scores of one model: their number, mean and histogram of ten equal bins from 0 to 1.

    `threshold` is null if the stored card of the model is malformed.
    """

    model: str
    weights_sha256: str
    threshold: float | None
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
    `lacks` names the parts of the report that do not count archived threads at all.
    """

    messages: int
    days_left_out: list[date]
    lacks: list[str]


class TrendDayDocument(MessageCountsDocument):
    day: date


class TrendWeekDocument(MessageCountsDocument):
    """A week that begins on a Monday, with those of its days that lie in the period."""

    week: date


class TrendDocument(Document):
    """Every day and week from the first to the last with messages, in UTC."""

    days: list[TrendDayDocument]
    weeks: list[TrendWeekDocument]


class SplitOutcomesDocument(Document):
    """Messages by outcome, split by one dimension at a time. The value of a group is None where it is not known."""

    source: list[ReportGroupDocument]
    role: list[ReportGroupDocument]
    locale: list[ReportGroupDocument]
    fitzpatrick: list[ReportGroupDocument]


class ReasonCountDocument(Document):
    """Photos of a source that fail with the same likeliest reason."""

    source: str
    reason: FindingKind
    n: int


class DurationsDocument(Document):
    """Times in seconds."""

    n: int
    p50: float
    p95: float
    p99: float
    worst: float


class TimesDocument(Document):
    """From the receipt of messages to the first decision, to the retake request, and to the record that it was sent."""

    to_decision: DurationsDocument | None
    to_request: DurationsDocument | None
    to_sent: DurationsDocument | None


class ReasonOverridesDocument(Document):
    """Messages by the reason of the model's last decision, and what people decided.

    `confirmed`: as the model did. `override_rate`: share of the changed ones, with its interval.
    """

    reason: Reason | None
    decisions: int
    to_pass: int
    to_retake: int
    changed: int
    confirmed: int
    override_rate: float | None
    interval: Interval | None


class PeopleDocument(Document):
    """Decided messages, and those whose current decision a person made."""

    decided: int
    by_people: int
    changed: int
    confirmed: int
    share: float | None
    interval: Interval | None
    by_reason: list[ReasonOverridesDocument]


class ShareDocument(Document):
    n: int
    share: float | None
    interval: Interval | None


class FatesDocument(Document):
    """Retake requests by what became of them. `open`: there is still time to answer, or the answer is not decided."""

    usable: int
    still_bad: int
    other_reason: int
    answered_elsewhere: int
    no_answer: int
    open: int
    withdrawn: int


class CompleteRequestsDocument(Document):
    """Requests whose time to answer is over, and the shares of answered ones and of those with a usable photo."""

    requests: int
    answered: ShareDocument
    usable: ShareDocument


class RequestGroupDocument(Document):
    value: str | None
    requests: int
    fates: FatesDocument
    complete: CompleteRequestsDocument


class RequestGroupsDocument(Document):
    source: list[RequestGroupDocument]
    reason: list[RequestGroupDocument]
    locale: list[RequestGroupDocument]
    catalogue_version: list[RequestGroupDocument]


class CurvePointDocument(Document):
    """The share of requests with a usable photo some days after they were sent (Kaplan-Meier)."""

    days: float
    at_risk: int
    share: float
    interval: Interval | None


class RetakeOutcomesDocument(Document):
    """What became of the requests of the period within `answer_days`."""

    answer_days: int
    requests: int
    sent: int
    fates: FatesDocument
    complete: CompleteRequestsDocument
    time_to_answer: DurationsDocument | None
    curve: list[CurvePointDocument]
    by: RequestGroupsDocument


class NeedlessCountsDocument(Document):
    """Retake requests and what people said about them.

    `reported`: appealed or overridden. `known`: reported, or needless by reviews; `at_least` is their share of all
    requests. `share`: of the reviewed ones, those that were needless; null without reviews.
    """

    requests: int
    reported: int
    known: int
    at_least: float | None
    reviewed: int
    needless: int
    share: float | None
    interval: Interval | None


class NeedlessGroupDocument(NeedlessCountsDocument):
    value: str | None


class NeedlessGroupsDocument(Document):
    source: list[NeedlessGroupDocument]
    fitzpatrick: list[NeedlessGroupDocument]
    reason: list[NeedlessGroupDocument]


class NeedlessDocument(NeedlessCountsDocument):
    by: NeedlessGroupsDocument


class BacklogDocument(Document):
    """What waits now, and the messages of the period that are for staff."""

    messages_undecided: int
    requests_unsent: int
    for_staff: int
    oldest_pending_seconds: float | None


class ReportDocument(Document):
    """The messages of a period. `reasons` counts photos that fail by their likeliest reason, `hours` messages by the
    hour of their receipt (UTC). `drift` compares the last week that is complete at the end of the period.
    `compared_to` is the report of another period.
    """

    since: UtcTime | None
    until: UtcTime | None
    messages: MessageCountsDocument
    trend: TrendDocument
    outcomes: SplitOutcomesDocument
    photos: PhotoCountsDocument
    reasons: dict[FindingKind, int]
    reasons_by_source: list[ReasonCountDocument]
    errors: dict[str, int]
    times: TimesDocument
    hours: list[int] = Field(min_length=24, max_length=24)
    people: PeopleDocument
    retention: RetentionCountsDocument
    retake_requests: RequestCountsDocument
    retake_outcomes: RetakeOutcomesDocument
    needless: NeedlessDocument
    overrides: int
    scores: list[ScoresDocument]
    shadows: list[ShadowDocument]
    backlog: BacklogDocument
    oldest_pending_seconds: float | None
    archived: ArchivedDocument
    drift: DriftDocument
    by: list[str]
    groups: list[ReportGroupDocument]
    compared_to: "ReportDocument | None" = None
