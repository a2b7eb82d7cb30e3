"""Cropping a photo to its region of interest."""

from dataclasses import replace

import numpy as np

from triage.dataset.manifest import Box
from triage.imaging.metadata import UPRIGHT
from triage.imaging.photo import DecodedPhoto


def crop(photo: DecodedPhoto, box: Box) -> DecodedPhoto | None:
    """Crops a photo to a box, in pixels of the upright photo. Returns None if the box lies outside the photo."""
    region = np.ascontiguousarray(photo.upright[box.top : box.bottom, box.left : box.right])  # (h, w, 3)
    return replace(photo, pixels=region, orientation=UPRIGHT) if region.size else None
