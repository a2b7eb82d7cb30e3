"""Simulations of a past period, and the proposals that save them."""

from typing import Self

from pydantic import Field

from triage.domain.proposals import Proposal
from worker.documents.document import Document, UtcTime


class LabelledShareDocument(Document):
    """k of n labelled messages, with Wilson's 95 % interval. Without any, the value is null: unknown."""

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

    `bad_caught` is the share with a request among the messages labelled as bad; `needless` the share labelled as good
    among the labelled messages with a request. `needless_at_least`: of all messages with a request, those that are
    appealed or labelled as good.
    """

    outcomes: OutcomesDocument
    requests: int
    requests_per_day: float
    staff: int
    staff_per_day: float
    bad_caught: LabelledShareDocument
    needless: LabelledShareDocument
    needless_at_least: float | None


class ChangesDocument(Document):
    """What a scenario changes; what it leaves as it is, is absent or null."""

    threshold: float | None = None
    thresholds_by_photo_count: dict[int, float] | None = None
    model: str | None = None
    max_requests_per_thread: int | None = None
    cooldown_hours: float | None = None
    uncertain_margin: float | None = None


class TodaysSettingsDocument(Document):
    """Today's value of all that a scenario can change except the model; the thresholds are those of the live model."""

    threshold: float | None
    thresholds_by_photo_count: dict[int, float]
    max_requests_per_thread: int
    cooldown_hours: float
    uncertain_margin: float


class SimulationDocument(Document):
    """A period under today's settings and under a scenario. `reproduced`: stored decisions that the replay gives.

    `labelled` messages were reviewed, or decided by a person; `appealed` more have only an appeal.
    """

    since: UtcTime
    until: UtcTime
    days: float
    messages: int
    left_out: int
    reproduced: LabelledShareDocument
    labelled: int
    appealed: int
    model: str | None
    weights_sha256: str | None
    settings: TodaysSettingsDocument
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
