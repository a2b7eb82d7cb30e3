"""Passes on a card whose memory is full, which a network that refuses large batches imitates on a CPU."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tests.support.brightness import EIGHT_PHOTOS, BrightnessNetwork
from tests.support.narrow_model import draw_narrow_network
from triage.errors import DeviceError, Fault
from triage.model.engines.batch_size import BatchSize
from triage.training.config import TrainingConfig
from triage.training.memory import within_memory
from triage.training.passes import Passes, flip, logits_of
from triage.training.photos import levels_of_labels

CONFIG = TrainingConfig(learning_rate=0.5, momentum=0.9)

Refuse = Callable[[], None]


def _out_of_memory() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


def _cudnn_out_of_memory() -> None:
    raise RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED")


class _RefusedBackwards(torch.autograd.Function):
    @staticmethod
    def forward(context: object, features: Tensor, refuse: Refuse) -> Tensor:
        context.refuse = refuse  # type: ignore[attr-defined]  # the way of autograd
        return features.clone()

    @staticmethod
    def backward(context: object, *_: object) -> tuple[Tensor, None]:
        context.refuse()  # type: ignore[attr-defined]
        raise AssertionError


class CrowdedNetwork(BrightnessNetwork):
    """Has no memory for more than three photos."""

    def __init__(self, refuse: Refuse, *, backwards: bool = False) -> None:
        super().__init__()
        self.sizes: list[int] = []
        self._refuse = refuse
        self._backwards = backwards

    def features_of(self, photos: Tensor) -> Tensor:
        self.sizes.append(len(photos))
        features = super().features_of(photos)
        if len(photos) <= 3:
            return features
        if not self._backwards:
            self._refuse()
        refused: Tensor = _RefusedBackwards.apply(features.requires_grad_(), self._refuse)
        return refused


def _passes(network: BrightnessNetwork) -> Passes:
    optimiser = torch.optim.SGD(network.head.parameters(), lr=CONFIG.learning_rate, momentum=CONFIG.momentum)
    return Passes(network, optimiser, CONFIG)  # type: ignore[arg-type]  # replaces VGG16


@pytest.mark.parametrize(
    ("refuse", "backwards"), [(_out_of_memory, False), (_out_of_memory, True), (_cudnn_out_of_memory, False)]
)
def test_batch_is_learned_in_parts_with_the_same_result_when_memory_is_full(refuse: Refuse, *, backwards: bool) -> None:
    spacious, crowded = BrightnessNetwork(), CrowdedNetwork(refuse, backwards=backwards)
    at_once, in_parts = _passes(spacious), _passes(crowded)

    for _ in range(3):
        for n in (8, 7):
            photos, levels = EIGHT_PHOTOS.photos[:n], levels_of_labels(EIGHT_PHOTOS.labels[:n], 4)
            loss = float(at_once.learn(photos, levels))
            assert float(in_parts.learn(photos, levels)) == pytest.approx(loss, rel=1e-6)

    assert crowded.sizes == [8, 4, 2, 2, 2, 2, *[2, 2, 2, 1], *2 * [2, 2, 2, 2, 2, 2, 2, 1]]
    for name, weights in spacious.state_dict().items():
        torch.testing.assert_close(crowded.state_dict()[name], weights, rtol=1e-6, atol=1e-7)


def test_batch_is_predicted_in_parts_when_memory_is_full() -> None:
    crowded = CrowdedNetwork(_out_of_memory)

    predicted = _passes(crowded).predict(EIGHT_PHOTOS.photos)

    assert crowded.sizes == [8, 4, 2, 2, 2, 2]
    torch.testing.assert_close(predicted, _passes(BrightnessNetwork()).predict(EIGHT_PHOTOS.photos))


def test_single_photo_waits_for_memory() -> None:
    waits: list[float] = []

    def attempt(_: int) -> str:
        if len(waits) < 2:
            _out_of_memory()
        return "done"

    assert within_memory(BatchSize(4), 1, attempt, wait=waits.append) == "done"
    assert waits == [1, 4]


def test_device_is_at_fault_when_a_single_photo_never_fits() -> None:
    waits: list[float] = []

    with pytest.raises(DeviceError) as raised:
        within_memory(BatchSize(4), 2, lambda _: _out_of_memory(), wait=waits.append)

    assert raised.value.kind is Fault.NO_MEMORY
    assert waits == [1, 4, 16]


def test_other_errors_are_not_tried_again() -> None:
    sizes: list[int] = []

    def attempt(at_once: int) -> None:
        sizes.append(at_once)
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        within_memory(BatchSize(8), 8, attempt)
    assert sizes == [8]


def test_head_stays_in_float32_when_convolutions_are_in_half_precision() -> None:
    """In half precision its sums of thousands of products would be wrong in the third digit."""
    network = draw_narrow_network()
    photos = torch.randint(0, 256, (2, 3, 448, 448), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    features: list[Tensor] = []
    network.features.register_forward_hook(lambda _network, _photos, output: features.append(output))

    logits = logits_of(network, photos, in_half=True)

    assert features[0].dtype == torch.bfloat16
    assert logits.dtype == torch.float32
    assert torch.equal(logits, network.logits_of(features[0]))
    assert not torch.equal(logits, logits_of(network, photos, in_half=False))


def test_photos_are_flipped_as_drawn() -> None:
    photos = torch.arange(4, dtype=torch.uint8).view(1, 1, 2, 2).expand(4, 3, 2, 2)
    flips = torch.tensor([[False, False], [True, False], [False, True], [True, True]])

    assert flip(photos, flips)[:, 0].flatten(1).tolist() == [[0, 1, 2, 3], [1, 0, 3, 2], [2, 3, 0, 1], [3, 2, 1, 0]]
