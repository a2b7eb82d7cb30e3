"""A decoded photo: the stored pixels, their orientation and their ICC profile."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from triage.imaging.colour import to_srgb
from triage.imaging.formats import MediaType
from triage.imaging.metadata import UPRIGHT


class Note(StrEnum):
    """What a decoder ignored in a file, for the log."""

    INVALID_WINDOW = "invalid_window"
    """A window or VOI LUT of a DICOM file that no viewer can apply."""


@dataclass(frozen=True, slots=True)
class DecodedPhoto:
    """One image of a file.

    Orientation and colour conversion are applied after the photo is resized, where they are cheap.

    Attributes:
        pixels: (H, W, 3), uint8, channels R, G, B, as stored; any strides.
        media_type: detected from the bytes.
        orientation: Exif Orientation, 1 to 8, still to be applied.
        profile: ICC profile of the pixels; None means sRGB.
        n_frames: images in the file.
        frame: index of this image, from 0.
        notes: what was ignored.
    """

    pixels: NDArray[np.uint8]
    media_type: MediaType
    orientation: int = UPRIGHT
    profile: bytes | None = None
    n_frames: int = 1
    frame: int = 0
    notes: tuple[Note, ...] = ()

    @property
    def upright(self) -> NDArray[np.uint8]:
        """(H, W, 3), upright; a view of `pixels`."""
        return turn_upright(self.pixels, self.orientation)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels, upright."""
        height, width, _ = self.upright.shape
        return width, height

    def to_image(self) -> Image.Image:
        """The whole photo: mode RGB, upright, sRGB."""
        return Image.fromarray(to_srgb(np.ascontiguousarray(self.upright), self.profile))

    @classmethod
    def of(cls, image: Image.Image) -> "DecodedPhoto":
        """Wraps an image that is already mode RGB, upright and sRGB."""
        return cls(np.array(image), MediaType.PNG)


def turn_upright(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Applies an Exif Orientation to an (H, W, 3) array without a copy. Source: Exif 2.32, tag 0x0112."""
    if orientation >= 5:  # stored with rows and columns exchanged
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels
