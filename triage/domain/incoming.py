"""The rules for a message from a sender, which every entrance of the product applies."""

from typing import Final

from triage.domain.limits import IntakeLimits
from triage.domain.messages import IncomingAttachment, IncomingMessage
from triage.domain.text import check_id, check_locale, check_no_step, check_word
from triage.errors import UsageError

_FORGOTTEN: Final = "forgotten:"
"""Start of the ids that replace those of forgotten messages: a sender could add photos to these."""


def check_message(message: IncomingMessage, limits: IntakeLimits) -> None:
    """Checks the ids, codes and number of photos of a message, not the photos.

    Raises:
        UsageError: a field is malformed, or the message has no photos or too many.
    """
    check_word(message.source, "source")
    check_sender_id(message.external_id, "message id")
    if message.thread is not None:
        check_sender_id(message.thread, "thread id")
    for reference in (
        (message.origin.subject, message.origin.author, message.origin.encounter) if message.origin else ()
    ):
        if reference is not None:
            check_id(reference, "reference")
    check_word(message.role, "role")
    check_locale(message.locale)
    if not message.attachments:
        raise UsageError("the message has no photos: send only messages with photos")
    if len(message.attachments) > limits.max_attachments:
        raise UsageError(
            f"the message has more than {limits.max_attachments} photos: split the message or raise the limit"
        )
    for attachment in message.attachments:
        _check_attachment(attachment)


def check_sender_id(value: str, name: str) -> str:
    """Returns the sender's id of a message, a thread or a photo unchanged.

    Raises:
        UsageError: it is malformed, `.` or `..`, or the id of something forgotten.
    """
    if check_id(value, name).startswith(_FORGOTTEN):
        raise UsageError(f"invalid {name}: ids that start with `{_FORGOTTEN}` belong to forgotten messages")
    return check_no_step(value, name)


def _check_attachment(attachment: IncomingAttachment) -> None:
    if attachment.error_code is not None:
        if attachment.data is not None or attachment.uri is not None or attachment.external_id is None:
            raise UsageError("invalid attachment: one that could not be read has an id and neither bytes nor a URI")
    elif (attachment.data is None) == (attachment.uri is None):
        raise UsageError("invalid attachment: give either its bytes or a URI")
    if attachment.external_id is not None:
        check_sender_id(attachment.external_id, "attachment id")
    if attachment.group is not None:
        check_id(attachment.group, "group")
