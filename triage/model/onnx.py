"""A model as one ONNX graph, from the pixels of resized photos to the probabilities that the product states.

Axes: n photos, 5 patches, K outputs.
"""

import warnings
from typing import Final

import torch
from torch import Tensor, nn

from triage.domain.card import Card
from triage.errors import UsageError
from triage.model.network import OrdinalVGG16, pool_patches
from triage.model.patches import PHOTO_SIDE
from triage.model.weights import load_network

OPSET: Final = 18
_INPUT: Final = "photos"
OUTPUTS: Final = ("score", "cumulative", "patches")
_EPSILON: Final = 1e-12  # as in scoring


class _Graph(nn.Module):
    """A network with what `triage.model.network.probabilities_of` does, in operators that ONNX has.

    Maps uint8 (n, 3, 448, 448) to score (n,), cumulative (n, K) and patches (n, 5, K). Reasons are left out, because
    they also need measures of the photo in its full resolution.
    """

    def __init__(self, network: OrdinalVGG16, card: Card) -> None:
        super().__init__()
        self.network = network
        self.card = card

    def forward(self, photos: Tensor) -> tuple[Tensor, ...]:
        pooled = pool_patches(self.network(photos), self.card.pooling)
        cumulative, patches = map(self._recalibrated, pooled)  # (n, K), (n, 5, K)
        falling = [cumulative[:, 0]]
        for cut in range(1, self.card.n_outputs):  # ONNX has no cumulative minimum
            falling.append(torch.minimum(falling[-1], cumulative[:, cut]))
        return falling[self.card.good_votes - 1], torch.stack(falling, dim=1), patches

    def _recalibrated(self, probabilities: Tensor) -> Tensor:
        if self.card.recalibration is None:
            return probabilities
        p = probabilities.double().clamp(_EPSILON, 1 - _EPSILON)
        intercepts = torch.tensor(self.card.recalibration.intercepts, dtype=torch.float64)  # (K,)
        return torch.sigmoid(self.card.recalibration.slope * torch.log(p / (1 - p)) + intercepts).float()


def onnx_of(card: Card, weights: bytes) -> bytes:
    """The model as an ONNX file of opset 18; any number of photos in a batch.

    Raises:
        ModelError: the weights are not those of the card.
        UsageError: the packages onnx and onnxscript are missing.
    """
    network = load_network(card, weights).eval()
    network.reasons = None
    example = torch.zeros(2, 3, PHOTO_SIDE, PHOTO_SIDE, dtype=torch.uint8)
    try:
        with warnings.catch_warnings(), torch.inference_mode():
            warnings.simplefilter("ignore")  # the exporter's own
            program = torch.onnx.export(
                _Graph(network, card).eval(),
                (example,),
                input_names=[_INPUT],
                output_names=list(OUTPUTS),
                opset_version=OPSET,
                dynamic_shapes=({0: torch.export.Dim("n")},),
                dynamo=True,
                verbose=False,
            )
    except ImportError as error:  # torch names the package that is missing
        raise UsageError("the packages onnx and onnxscript are missing: install the extra onnx") from error
    if program is None:
        raise RuntimeError("the exporter returned no program")
    program.model.metadata_props.update(
        {"model": card.label, "weights_sha256": card.weights_sha256, "preprocessing": card.preprocessing}
    )
    data: bytes = program.model_proto.SerializeToString()
    return data
