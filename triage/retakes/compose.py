"""Writing a retake request: the photos to take again with their reasons, and the reply to the patient."""

from collections.abc import Sequence

from triage.domain.ids import DecisionId, MessageId, ThreadId
from triage.domain.messages import AssessedPhoto
from triage.domain.replies import PhotoReason, RequestedPhoto
from triage.domain.states import FindingKind, FindingLevel
from triage.replies.catalogue import shipped_catalogue
from triage.replies.choice import choose_reasons
from triage.retakes.policy import RetakePolicy, photos_to_retake
from triage.storage.outbox import NewRequest


def compose_request(
    message_id: MessageId,
    thread_id: ThreadId,
    decision_id: DecisionId,
    *,
    photos: Sequence[AssessedPhoto],
    locale: str,
    policy: RetakePolicy,
    named: FindingKind | None = None,
) -> NewRequest:
    """Makes the request of a decision. Its text is written here, once: what is sent stays on record.

    Args:
        message_id: of the message whose photos are to be taken again.
        thread_id: of its thread.
        decision_id: the decision to request a retake.
        photos: all photos of the message; none if a person decides before they are assessed.
        locale: the language that the message asks for.
        policy: holds the texts.
        named: the reason that a person names, for all photos and instead of what was measured.
    """
    requested = [_requested(photo, named) for photo in photos_to_retake(photos, policy)]
    kinds = [named] if named else choose_reasons(reason for photo in requested for reason in photo.reasons)
    reply = (policy.catalogue or shipped_catalogue()).reply(kinds, locale)
    return NewRequest(message_id, thread_id, decision_id, requested, reply)


def _requested(photo: AssessedPhoto, named: FindingKind | None) -> RequestedPhoto:
    reasons = (
        [PhotoReason(named, FindingLevel.SEVERE)]
        if named
        else [PhotoReason(FindingKind(finding.kind), FindingLevel(finding.level)) for finding in photo.findings]
    )
    return RequestedPhoto(
        id=photo.id,
        external_id=photo.external_id,
        group=photo.group,
        score=photo.score,
        reasons=[reason for reason in reasons if reason.kind is not FindingKind.NO_CLEAR_REASON],
    )
