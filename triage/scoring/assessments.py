"""The interactive lane: photos that are checked before they are sent. Workers take them before the inbox.

The photo waits in the blob store under a name of its assessment, in the place of a blob, so that a purge would find it
if all else failed. It is deleted with the answer, or when it is no longer awaited. Nothing about it is kept.
"""

from collections.abc import Callable, Sequence
from uuid import UUID

from triage.blobs.store import BlobStore
from triage.domain.assessments import LaneLimits, PhotoAnswer
from triage.domain.ids import AttachmentId, LeaseToken, new_id
from triage.domain.messages import Claim, ClaimedAttachment, Recorded
from triage.domain.photos import AssessedBatch, NotAssessable, Scored
from triage.domain.photos import Assessment as PhotoAssessment
from triage.domain.replies import PhotoReason
from triage.domain.states import FindingKind, FindingLevel
from triage.errors import ServiceUnavailableError
from triage.files.hashing import sha256_of
from triage.files.received import ReceivedBytes
from triage.photo_store import PhotoStore
from triage.storage import assessments as rows
from triage.storage import model_versions as models
from triage.storage.database import Sessions, database_errors
from triage.storage.use_case import use_case


class Assessments:
    """The lane in Postgres: what the sender's side and the worker's side of it call."""

    def __init__(
        self, sessions: Sessions, blobs: BlobStore, *, limits: LaneLimits, wake_up: Callable[[], object]
    ) -> None:
        """
        Args:
            sessions: of the worker role.
            blobs: holds the photos while they are assessed.
            limits: how long and how many may wait.
            wake_up: wakes a scoring worker. It must not raise.
        """
        self._sessions = sessions
        self._blobs = blobs
        self._store = PhotoStore(sessions, blobs)
        self._limits = limits
        self._wake_up = wake_up

    @use_case
    def submit(self, photo: ReceivedBytes) -> UUID:
        """Puts a photo into the lane, and returns the id of its assessment. Finish it in any case.

        Raises:
            ServiceUnavailableError: too many photos wait already, or Postgres or the blob store is unavailable.
        """
        with self._sessions.begin() as session:
            if rows.count_waiting(session) >= self._limits.max_waiting:
                raise ServiceUnavailableError("too many photos wait to be assessed: retry")
            id_ = rows.add(session, patience=self._limits.patience)
        try:  # the row comes first, so that a sweep deletes the photo if this process is killed
            self._store.set_up()
            self._blobs.put_as(_name_of(id_), photo)
            with self._sessions.begin() as session:
                rows.make_ready(session, id_)
        except BaseException:
            self._remove([id_])
            raise
        self._wake_up()
        return id_

    @use_case
    def answer_to(self, assessment: UUID) -> PhotoAnswer | None:
        """Returns the answer, or None while there is none."""
        with self._sessions() as session:
            return rows.find_answer(session, assessment)

    @use_case
    def finish(self, assessment: UUID) -> None:
        """Deletes the photo and everything about it, also if Postgres has lost the row. Idempotent."""
        self._remove([assessment])

    @use_case
    def sweep(self) -> int:
        """Deletes what killed processes have left behind, and returns the number of photos."""
        with self._sessions() as session:
            expired = rows.expired(session)
        if expired:
            self._remove(expired)
        return len(expired)

    def fetch(self, attachment: ClaimedAttachment) -> bytes:
        """Returns the bytes of a claimed photo.

        Raises:
            StorageFaultError: it is no longer awaited, or the store does not respond.
        """
        return self._blobs.read(str(attachment.sha256))

    def claim(self, limit: int, *, retry: bool = False) -> Claim | None:
        """Claims photos, oldest first. A photo is tried once: if it kills its worker, it takes no other with it."""
        if retry:
            return None
        with self._sessions.begin() as session:
            claimed = rows.claim(session, limit=limit)
        # decoded apart, as a retry: a photo that kills its decoder could be posted again and again
        photos = [ClaimedAttachment(AttachmentId(id_), _name_of(id_), None, is_retry=True) for id_ in claimed]
        return Claim(LeaseToken(new_id()), photos) if photos else None

    def has_retries(self) -> bool:
        return False

    def record(self, claim: Claim, batch: AssessedBatch) -> Recorded:  # noqa: ARG002  # the protocol of queues
        """Stores the answers. They count for no message."""
        with database_errors(), self._sessions.begin() as session:
            model = models.get(session, batch.model_version_id).card.label
            rows.answer(session, {item.id: _answer(item, model) for item in batch.assessments})
        return Recorded()

    def release(self, claim: Claim) -> int:
        """Lets another worker take the photos."""
        ids = [photo.id for photo in claim.attachments]
        with database_errors(), self._sessions.begin() as session:
            rows.release(session, ids)
        return len(ids)

    def _remove(self, assessments: Sequence[UUID]) -> None:
        for each in assessments:
            self._blobs.remove(_name_of(each))
        with self._sessions.begin() as session:
            rows.remove(session, assessments)


def _name_of(assessment: UUID) -> str:
    """The name of the photo in the blob store. It is not the photo's hash: a message may have the same photo.

    It is known without the row, because a crash of Postgres loses the rows of a table that is not logged.
    """
    return sha256_of(b"assessment" + assessment.bytes)


def _answer(item: PhotoAssessment, model: str) -> PhotoAnswer:
    match item:
        case Scored():
            return PhotoAnswer(
                model=model,
                acceptable=item.acceptable,
                score=item.score.score,
                reasons=[
                    PhotoReason(FindingKind(each.kind), FindingLevel(each.level))
                    for each in item.findings
                    if each.kind != FindingKind.NO_CLEAR_REASON and not item.acceptable
                ],
                error_code=None,
            )
        case NotAssessable():
            return PhotoAnswer(model, acceptable=False, score=None, reasons=[], error_code=item.code)
        case _:
            return PhotoAnswer(model, acceptable=False, score=None, reasons=[], error_code=item.code, is_final=False)
