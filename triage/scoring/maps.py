"""Quality maps for people: where in a stored photo the quality is low, drawn by the model that scored it."""

from collections.abc import Callable
from threading import Lock
from typing import TYPE_CHECKING

from triage.blobs.source import PhotoSource
from triage.domain.card import Card
from triage.domain.ids import AttachmentId, MessageId
from triage.errors import AttachmentError, ErrorCode
from triage.files.hashing import sha256_of
from triage.imaging.decode import Decoder
from triage.reports.photo_view import ViewedPhoto, view_photo
from triage.storage.database import Sessions
from triage.storage.use_case import use_case

if TYPE_CHECKING:
    from triage.model.network import OrdinalVGG16


class QualityMaps:
    """Draws quality maps, one at a time and on one core, so that scoring keeps its own. Thread-safe."""

    def __init__(
        self, sessions: Sessions, source: PhotoSource, decoder: Decoder, weights: Callable[[Card], bytes]
    ) -> None:
        """
        Args:
            sessions: of the worker role.
            source: the bytes of the photos.
            decoder: with decoder processes.
            weights: of the model of a card.
        """
        self._sessions = sessions
        self._source = source
        self._decoder = decoder
        self._weights = weights
        self._lock = Lock()
        self._network: tuple[str, OrdinalVGG16] | None = None

    @use_case
    def draw(self, message_id: MessageId, attachment_id: AttachmentId, *, by: str) -> bytes:
        """Returns the map of a photo as PNG, and records in the audit trail that the photo was seen.

        Args:
            message_id: the message.
            attachment_id: the photo.
            by: actor id of the person.

        Raises:
            UsageError: the message has no such photo, it was not scored, its bytes were removed, or `by` is malformed.
            AttachmentError: the photo cannot be decoded, or another one is at its address.
            ServiceUnavailableError: its bytes or the weights of the model cannot be read now.
            ModelError: the weights do not match the card.
        """
        view = view_photo(self._sessions, message_id, photo=attachment_id, by=by)
        data = self._source.fetch(view.attachment)
        if sha256_of(data) != view.sha256:
            raise AttachmentError(ErrorCode.ALTERED, "another photo is at the address now: the assessed one is gone")
        with self._lock:
            return self._drawn(view, data)

    def _drawn(self, view: ViewedPhoto, data: bytes) -> bytes:
        import torch  # deferred: the console needs it for maps alone

        from triage.model.map_picture import draw_map  # deferred: imports torch
        from triage.model.preparation import prepare_photo  # deferred: imports torch
        from triage.model.quality_map import map_quality  # deferred: imports torch
        from triage.model.weights import load_network  # deferred: imports torch

        sha256 = view.card.weights_sha256
        if self._network is None or self._network[0] != sha256:
            torch.set_num_threads(1)
            self._network = (sha256, load_network(view.card, self._weights(view.card)))
        photo = prepare_photo(data, self._decoder, apart=True)
        return draw_map(map_quality(self._network[1], view.card, photo.photo), photo)
