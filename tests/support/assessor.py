"""What the assessors of tests have in common."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial

from triage.domain.messages import ClaimedAttachment
from triage.domain.photos import AssessedBatch


class SimpleAssessor(ABC):
    """One without anything to fetch or to decode."""

    def prepare(self, attachments: Sequence[ClaimedAttachment]) -> Callable[[], AssessedBatch]:
        return partial(self.assess, attachments)

    @abstractmethod
    def assess(self, attachments: Sequence[ClaimedAttachment]) -> AssessedBatch: ...
