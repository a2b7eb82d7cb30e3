"""Cropping a photo to its region of interest."""

from dataclasses import replace

import numpy as np

from triage.dataset.manifest import Box
from triage.imaging.photo import UPRIGHT, DecodedPhoto


def crop(photo: DecodedPhoto, box: Box) -> DecodedPhoto | None:
    """The part of a photo inside a box of upright pixels, or None where the box lies outside of it."""
    region = np.ascontiguousarray(photo.upright[box.top : box.bottom, box.left : box.right])
    return replace(photo, pixels=region, orientation=UPRIGHT) if region.size else None
