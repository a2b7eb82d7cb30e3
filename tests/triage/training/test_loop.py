import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from triage.quality.network import CoralHead
from triage.quality.patches import five_patches
from triage.training.config import TrainingConfig
from triage.training.loop import Epoch, TrainingPhoto, coral_loss, predict, train, youden_threshold

CPU = torch.device("cpu")


class BrightnessNetwork(nn.Module):
    """A real CORAL head over each patch's mean brightness: it trains in milliseconds."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.convolution = nn.Conv2d(1, 1, 1)  # stands in for the frozen ones
        self.head = CoralHead(1, 4)

    def forward(self, photos: Tensor) -> Tensor:
        brightness = five_patches(photos).float().mean(dim=(2, 3, 4)) / 255  # (N, 5)
        logits: Tensor = self.head(brightness.unsqueeze(-1))
        return logits

    def freeze_convolutions(self, n: int) -> None:
        self.convolution.requires_grad_(n == 0)


def _photos(brightness: Sequence[int], votes: Sequence[int]) -> list[TrainingPhoto]:
    return [
        TrainingPhoto(torch.full((3, 448, 448), value, dtype=torch.uint8), vote)
        for value, vote in zip(brightness, votes, strict=True)
    ]


TRAINING = _photos([0, 20, 60, 120, 130, 180, 220, 255], [0, 0, 1, 2, 2, 3, 4, 4])
VALIDATION = _photos([10, 110, 140, 240], [0, 1, 3, 4])


def _config(**fields: object) -> TrainingConfig:
    given: dict[str, object] = {"epochs": 15, "batch_photos": 4, "learning_rate": 0.5, "weight_decay": 0.0}
    return TrainingConfig.model_validate(given | fields)


def _train(config: TrainingConfig, **arguments: object):  # type: ignore[no-untyped-def]
    return train(BrightnessNetwork(), TRAINING, VALIDATION, config, device=CPU, **arguments)  # type: ignore[arg-type]


def test_loss_is_the_one_worked_out_by_hand() -> None:
    logits = torch.tensor([[2.0, 0.0, -1.0, -3.0]]).expand(5, 4)[None]  # every patch alike
    p = [1 / (1 + math.exp(-x)) for x in (2.0, 0.0, -1.0, -3.0)]

    loss = coral_loss(logits, torch.tensor([2]))

    expected = -(math.log(p[0]) + math.log(p[1]) + math.log(1 - p[2]) + math.log(1 - p[3]))
    assert loss.item() == pytest.approx(expected, abs=1e-6)


def test_loss_is_that_of_the_photo_and_not_of_its_patches() -> None:
    logits = torch.tensor([4.0, -4.0, 4.0, -4.0, 0.0]).view(1, 5, 1).expand(1, 5, 4)

    assert coral_loss(logits, torch.tensor([4])).item() == pytest.approx(4 * math.log(2), abs=1e-5)


def test_training_learns_an_order_that_is_there() -> None:
    epochs: list[Epoch] = []
    trained = _train(_config(), on_epoch=epochs.append)

    assert len(epochs) == len(trained.epochs) == 15
    assert trained.epochs[-1].train_loss < 0.8 * trained.epochs[0].train_loss
    scores = predict(trained.network, VALIDATION, _config(), CPU)
    assert scores == sorted(scores)
    assert trained.threshold_chosen_by == "Youden's index on 4 validation photos"
    assert [score >= trained.threshold for score in scores] == [False, False, True, True]


def test_training_is_the_same_when_the_seed_is() -> None:
    first, again, other = (_train(_config(seed=seed)).network.head.weight.item() for seed in (1, 1, 2))

    assert first == again
    assert first != other


def test_biases_are_in_order_after_every_step() -> None:
    network = BrightnessNetwork()

    def check(epoch: int, done: float) -> None:
        assert bool((network.head.bias.diff() <= 0).all())

    train(network, TRAINING, [], _config(learning_rate=5.0), device=CPU, on_batch=check)  # type: ignore[arg-type]


def test_training_stops_early_and_keeps_the_best_epoch() -> None:
    misleading = _photos([0, 255], [4, 0])  # the more is learned, the worse it is for these

    trained = train(
        BrightnessNetwork(),  # type: ignore[arg-type]
        TRAINING,
        misleading,
        _config(epochs=50, patience=3),
        device=CPU,
    )

    best = min(trained.epochs, key=lambda epoch: epoch.validation_loss or math.inf)
    assert len(trained.epochs) == best.number + 3
    assert [epoch.number for epoch in trained.epochs if epoch.is_best][-1] == best.number


def test_frozen_convolutions_stay_as_they_are() -> None:
    before = BrightnessNetwork().convolution.weight.item()

    assert _train(_config(weight_decay=0.1)).network.convolution.weight.item() == before


def test_observer_can_end_the_training() -> None:
    class StopError(Exception):
        pass

    def stop(epoch: int, done: float) -> None:
        if (epoch, done) == (2, 0.5):
            raise StopError

    with pytest.raises(StopError):
        _train(_config(), on_batch=stop)


@pytest.mark.parametrize(
    ("scores", "good", "threshold"),
    [
        ([0.1, 0.4, 0.6, 0.9], [False, False, True, True], 0.6),
        ([0.1, 0.6, 0.4, 0.9], [False, False, True, True], 0.4),
        ([0.2, 0.3], [True, True], 0.5),
        ([0.2, 0.3], [False, False], 0.5),
    ],
)
def test_threshold_maximises_youdens_index(scores: list[float], good: list[bool], threshold: float) -> None:
    assert youden_threshold(scores, good) == threshold
