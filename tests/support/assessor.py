"""The base of assessors in tests."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial

from triage.domain.messages import ClaimedAttachment
from triage.domain.photos import AssessedBatch


class SimpleAssessor(ABC):
    """An assessor that neither fetches nor decodes."""

    def prepare(self, attachments: Sequence[ClaimedAttachment]) -> Callable[[], AssessedBatch]:
        return partial(self.assess, attachments)

    @abstractmethod
    def assess(self, attachments: Sequence[ClaimedAttachment]) -> AssessedBatch: ...
