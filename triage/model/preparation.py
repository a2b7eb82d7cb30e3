"""From the bytes of a photo to the network's input and the findings that explain its verdict."""

from dataclasses import dataclass

from torch import Tensor

from triage.domain.photos import PhotoFacts
from triage.files.hashing import sha256_of
from triage.findings.rules import Measured, measure_findings
from triage.imaging.decode import Decoder
from triage.model.patches import resize_photo
from triage.timing import Timed, untimed


@dataclass(frozen=True, slots=True)
class PreparedPhoto:
    """
    Attributes:
        facts: from decoding.
        photo: uint8 (3, 448, 448), from `resize_photo`.
        measured: findings, and what a reason head reads.
    """

    facts: PhotoFacts
    photo: Tensor
    measured: Measured


def prepare_photo(
    data: bytes, decoder: Decoder, timed: Timed = untimed, *, sha256: str | None = None, apart: bool = False
) -> PreparedPhoto:
    """Decodes, resizes and measures one photo.

    Args:
        data: the bytes of the file.
        decoder: for any image format.
        timed: called with `decode` and `findings`; measures the stages.
        sha256: of `data`; by default it is computed.
        apart: decode in a decoder process, see `Decoder.decode`.

    Raises:
        AttachmentError, TransientError: as `Decoder.decode`.
    """
    with timed("decode"):
        decoded = decoder.decode(data, apart=apart)
        photo = resize_photo(decoded)
    width, height = decoded.size
    facts = PhotoFacts(sha256 or sha256_of(data), width, height, decoded.media_type, decoded.n_frames, decoded.frame)
    with timed("findings"):
        measured = measure_findings(decoded.upright, photo.permute(1, 2, 0).numpy())  # (3, 448, 448) -> (448, 448, 3)
    return PreparedPhoto(facts, photo, measured)
