"""The lane as the drain sees it: claims photos that somebody waits for, and prepares them at once."""

from collections.abc import Callable
from concurrent.futures import Future

from triage.domain.photos import AssessedBatch
from triage.errors import ServiceUnavailableError
from triage.scoring.assessments import Assessments
from triage.scoring.batches import Assessor, Batch, InboxBatch
from triage.storage.database import database_errors


class AssessmentLane:
    """See `Lane`."""

    def __init__(self, assessments: Assessments, assessor: Callable[[], Assessor], *, photos_per_batch: int) -> None:
        """
        Args:
            assessments: the lane in Postgres.
            assessor: returns the assessor of the live model that fetches from the lane.
            photos_per_batch: the largest number of photos that are scored together.
        """
        self._assessments = assessments
        self._assessor = assessor
        self._photos_per_batch = photos_per_batch

    def take(self) -> Batch | None:
        """See `Lane.take`. While Postgres is unavailable there is nothing to take: the inbox says why.

        Raises:
            ModelError: no model is live, or it cannot be loaded.
        """
        try:
            with database_errors():
                claim = self._assessments.claim(self._photos_per_batch)
        except ServiceUnavailableError:
            return None
        if claim is None:
            return None
        prepared: Future[Callable[[], AssessedBatch]] = Future()
        try:
            prepared.set_result(self._assessor().prepare(claim.attachments))
        except BaseException:
            self._assessments.release(claim)
            raise
        return InboxBatch(self._assessments, claim, prepared)
