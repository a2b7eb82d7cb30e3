"""The bytes of a photo, or a drawing that says why it is not shown."""

from collections.abc import Callable
from functools import partial
from typing import Final

from markupsafe import escape
from starlette.responses import Response

from triage.domain.ids import AttachmentId, MessageId
from triage.errors import (
    AttachmentError,
    ModelError,
    NotFoundError,
    ServiceUnavailableError,
    TransientError,
    UsageError,
)
from worker.console.page import Visit

_UNSHOWN: Final = """<svg xmlns="http://www.w3.org/2000/svg" width="480" height="240" role="img">
<rect width="480" height="240" fill="#eceff1"/>
<text x="24" y="112" font-family="sans-serif" font-size="22" fill="#1b1f23">{title}</text>
<text x="24" y="146" font-family="sans-serif" font-size="16" fill="#1b1f23">{reason}</text>
</svg>
"""


def show_photo_bytes(visit: Visit, message_id: MessageId, attachment_id: AttachmentId, *, full: bool) -> Response:
    """The photo, as `show_image`."""
    show = partial(visit.services.photo_views.show, message_id, attachment_id, full=full, by=visit.staff.actor)
    return show_image(visit, lambda: show().data, "image/jpeg")


def show_image(visit: Visit, read: Callable[[], bytes], media_type: str) -> Response:
    """An image, or a drawing that says why it is not shown: browsers show images of every status."""
    try:
        return Response(read(), media_type=media_type)
    except NotFoundError:
        status, key, code = 404, "photo.deleted", ""
    except (AttachmentError, TransientError) as error:
        status, key, code = 422, "photo.unreadable", error.code.value
    except ServiceUnavailableError:
        status, key, code = 503, "photo.unavailable", ""
    except (UsageError, ModelError):
        status, key, code = 422, "photo.no_map", ""
    reason = visit.texts(f"error.{code}") if code else ""
    drawing = _UNSHOWN.format(title=escape(visit.texts(key)), reason=escape(reason))
    return Response(drawing, status, media_type="image/svg+xml")
