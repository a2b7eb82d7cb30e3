"""A second model for rescoring, and one step of a rescoring run."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta

import pytest

from tests.support.assessor import SimpleAssessor
from tests.support.cards import make_card
from tests.support.clinic import Clinic, scored
from triage.domain.ids import ModelVersionId
from triage.domain.messages import ClaimedAttachment
from triage.domain.photos import AssessedBatch
from triage.domain.runs import RescoringParameters
from triage.errors import ModelError
from triage.scoring.rescoring import Rescoring
from triage.scoring.start import create_run
from triage.storage import model_versions as models

LEASE = timedelta(seconds=60)


class OtherModel(SimpleAssessor):
    """Gives every photo the same score; raises ModelError while `broken` is set."""

    def __init__(self, model_version_id: ModelVersionId, score: float) -> None:
        self.model_version_id = model_version_id
        self.score = score
        self.seen: list[object] = []
        self.broken = False

    def assess(self, attachments: Sequence[ClaimedAttachment]) -> AssessedBatch:
        if self.broken:
            raise ModelError("the weights are gone: add the model again")
        self.seen += [attachment.id for attachment in attachments]
        return AssessedBatch(
            self.model_version_id, 0.5, [scored(attachment.id, self.score) for attachment in attachments]
        )


@pytest.fixture
def make_other(clinic: Clinic) -> Callable[[float], OtherModel]:
    def make(score: float) -> OtherModel:
        card = make_card("other", weights_sha256="1" * 64)
        with clinic.sessions.begin() as session:
            return OtherModel(models.add(session, card)[0].id, score)

    return make


def step(rescoring: Rescoring) -> bool:
    """Takes, scores and records one chunk. Returns whether there was one."""
    if batch := rescoring.take():
        with suppress(ModelError):
            batch.record(batch.score())
    return batch is not None


def rescore(clinic: Clinic, other: OtherModel) -> None:
    """Starts a rescoring run with another model and finishes it."""
    with clinic.sessions.begin() as session:
        create_run(session, RescoringParameters(model_version_id=other.model_version_id), actor="test")
    rescoring = Rescoring(clinic.sessions, lambda _: other, photos_per_batch=4, lease=LEASE, policy=clinic.policy)
    while step(rescoring):
        pass
