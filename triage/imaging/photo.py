"""A decoded photo: pixels as they are stored, and what turns them upright and into sRGB, each applied once."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from triage.imaging.colour import to_srgb
from triage.imaging.formats import MediaType

UPRIGHT: Final = 1
"""The value of Exif's Orientation for pixels that are stored as they are to be seen."""


@dataclass(frozen=True, slots=True)
class DecodedPhoto:
    """One picture of a file.

    Turning and colour conversion wait until the photo is small, where they cost nothing.

    Attributes:
        pixels: (H, W, 3), channels R, G, B, as stored; of any strides.
        media_type: what the bytes are.
        orientation: Exif's Orientation, 1 to 8: how the pixels have to be turned to be upright.
        profile: the ICC profile of the pixels; None is sRGB.
        n_frames: pictures in the file.
        frame: which of them this is, from 0.
    """

    pixels: NDArray[np.uint8]
    media_type: MediaType
    orientation: int = UPRIGHT
    profile: bytes | None = None
    n_frames: int = 1
    frame: int = 0

    @property
    def upright(self) -> NDArray[np.uint8]:
        """(H, W, 3), upright, a view of `pixels`."""
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
        """A picture that was never a file: mode RGB, upright, sRGB."""
        return cls(np.array(image), MediaType.PNG)


def turn_upright(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Turns an (H, W, 3) array as Exif's Orientation says; a view, nothing is copied. Source: Exif 2.32, tag 0x0112."""
    if orientation >= 5:  # stored with rows and columns exchanged
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels
