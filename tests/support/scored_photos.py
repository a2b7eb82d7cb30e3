"""Photos in the blob store with a verdict, as after scoring."""

from collections.abc import Sequence

from sqlalchemy import text

from tests.support.clinic import scored
from triage.domain.card import RegisteredModel
from triage.domain.ids import AttachmentId
from triage.domain.messages import IncomingAttachment, IncomingMessage
from triage.storage.database import Sessions
from worker.tasks.base import WorkerServices

_VERDICT = """
INSERT INTO verdict (id, attachment_id, model_version_id, origin, score, threshold, acceptable, grade, cumulative,
                     patch_scores, findings, width, height)
SELECT gen_random_uuid(), :photo, :model, 'inbox', :score, 0.5, true, 4, :cumulative, :patches, '[]', 96, 96
"""


def send_scored(
    services: WorkerServices, sessions: Sessions, model: RegisteredModel, photos: Sequence[bytes], score: float = 0.777
) -> list[AttachmentId]:
    """Sends a message `m-1`, `m-2` and so on for each photo, whose photo is named `SECRET-1` and so on."""
    messages = [
        IncomingMessage("ehr", f"m-{n}", [IncomingAttachment(data=data, external_id=f"SECRET-{n}")])
        for n, data in enumerate(photos, 1)
    ]
    found = [AttachmentId(accepted.attachments[0].id) for accepted in services.intake.enqueue(messages)]
    verdict = scored(found[0], score).score
    with sessions.begin() as session:
        for photo in found:
            values = {"photo": photo, "model": model.id, "score": score}
            values |= {"cumulative": list(verdict.cumulative), "patches": list(verdict.patch_scores)}
            session.execute(text(_VERDICT), values)
    return found
