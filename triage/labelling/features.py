"""What a model's network computes for photos: their scores, and the features that ranking and linear heads read.

Axes: n photos, 5 patches, K outputs, R reasons, f features.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

from triage.dataset.crop import crop
from triage.dataset.manifest import LabelledPhoto
from triage.dataset.unread import UnreadPhoto
from triage.domain.card import Card
from triage.domain.photos import PhotoScore
from triage.errors import AttachmentError, TransientError, UsageError
from triage.files.hashing import sha256_of
from triage.imaging.decode import Decoder
from triage.imaging.limits import ImageLimits
from triage.imaging.photo import DecodedPhoto
from triage.labelling.feature_file import FeatureFile
from triage.model.engines.torch_exact import TorchEngine
from triage.model.network import OrdinalVGG16, statistics_of
from triage.model.patches import resize_photo
from triage.model.scorer import Scorer
from triage.model.weights import load_network
from triage.statistics.arrays import Floats


@dataclass(frozen=True, slots=True, eq=False)
class PhotoFeatures:
    """
    Attributes:
        card: of the model.
        photos: those that could be read.
        features: float64 (n, f): the mean over the patches of `triage.model.network.statistics_of`.
        scores: one for each photo.
        unread: the photos that could not be read.
    """

    card: Card
    photos: Sequence[LabelledPhoto]
    features: Floats
    scores: Sequence[PhotoScore]
    unread: Sequence[UnreadPhoto]

    def only(self, photos: Sequence[LabelledPhoto]) -> Self:
        """These photos alone, which are some of `photos` in the same order."""
        paths = {photo.path for photo in photos}
        rows = [row for row, photo in enumerate(self.photos) if photo.path in paths]
        return replace(
            self,
            photos=[self.photos[row] for row in rows],
            features=self.features[rows],
            scores=[self.scores[row] for row in rows],
        )


def read_features(
    card: Card,
    weights: bytes,
    photos: Sequence[LabelledPhoto],
    *,
    device: torch.device,
    limits: ImageLimits,
    file: Path | None = None,
    on_photo: Callable[[int], object] = lambda _: None,
) -> PhotoFeatures:
    """Runs a model's network over photos, in float32. Photos that cannot be read are left out and counted.

    Args:
        card: of the model.
        weights: a safetensors file.
        photos: with or without votes.
        device: to run on.
        limits: for decoding photos.
        file: keeps what the network computes; photos that are in it are not computed again.
        on_photo: called with the number of photos read so far.

    Raises:
        UsageError: no photo can be read, or the file is not such a file or cannot be written.
        ModelError: the model cannot be loaded.
    """
    network = load_network(card, weights).eval()
    scorer = Scorer.of(card, TorchEngine(network, device))
    known = FeatureFile(file, sha256_of(weights))
    crops = bool(card.training_settings.get("region_of_interest"))
    read: list[LabelledPhoto] = []
    keys: list[str] = []
    unread: list[UnreadPhoto] = []
    try:
        with Decoder(limits) as decoder:
            for number, photo in enumerate(photos, 1):
                on_photo(number)
                try:
                    data = photo.path.read_bytes()
                    key = sha256_of(data + (repr(photo.box).encode() if crops else b""))
                    if key not in known:
                        region = _region(decoder.decode(data), photo, crops=crops)
                        if region is None:
                            unread.append(UnreadPhoto.outside_box(photo.path))
                            continue
                        known.add(key, *_compute(network, region, device))
                except (AttachmentError, TransientError, OSError) as error:
                    unread.append(UnreadPhoto.of(photo.path, error))
                    continue
                read.append(photo)
                keys.append(key)
    finally:
        known.write()  # also after an interruption: the network took its time
    if not read:
        raise UsageError("no photo can be read: check the paths and the files")
    outputs, features = known.rows(keys)
    scores = scorer.scores_of(torch.from_numpy(outputs))
    return PhotoFeatures(card, read, features.astype(np.float64), scores, unread)


def _region(photo: DecodedPhoto, label: LabelledPhoto, *, crops: bool) -> DecodedPhoto | None:
    return crop(photo, label.box) if crops and label.box is not None else photo


@torch.inference_mode()
def _compute(
    network: OrdinalVGG16, photo: DecodedPhoto, device: torch.device
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The outputs of a photo, (5, K + R), and its features, (f,)."""
    blocks = network.blocks_of(resize_photo(photo)[None].to(device))
    outputs = network.outputs_of(blocks)[0]  # (1, 5, K + R) -> (5, K + R)
    features = statistics_of(blocks).mean(dim=0)  # (5, f) -> (f,)
    return outputs.float().cpu().numpy(), features.cpu().numpy()
