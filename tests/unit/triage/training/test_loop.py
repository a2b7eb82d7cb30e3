from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.support.brightness import EIGHT_PHOTOS, BrightnessNetwork, grey_photos
from triage.model.network import pool_patches
from triage.training.checkpoint import TrainingState, read_checkpoint, write_checkpoint
from triage.training.config import TrainingConfig
from triage.training.loop import train
from triage.training.photos import PhotoSet
from triage.training.progress import OnProgress, Progress, ignore_progress

CPU = torch.device("cpu")


TRAINING = EIGHT_PHOTOS
VALIDATION = grey_photos([10, 110, 140, 240], [0, 1, 3, 4])
NOTHING = PhotoSet(torch.empty((0, 3, 448, 448), dtype=torch.uint8), [])


def _config(**fields: object) -> TrainingConfig:
    given: dict[str, object] = {"epochs": 15, "batch_photos": 4, "learning_rate": 0.5, "weight_decay": 0.0}
    return TrainingConfig.model_validate(given | fields)


def _train(
    config: TrainingConfig,
    network: BrightnessNetwork | None = None,
    *,
    validation: PhotoSet = VALIDATION,
    resume: TrainingState | None = None,
    save: Callable[[TrainingState], None] = lambda _: None,
    on_progress: OnProgress = ignore_progress,
) -> tuple[BrightnessNetwork, TrainingState]:
    network = network or BrightnessNetwork()
    state = train(
        network,  # type: ignore[arg-type]  # replaces VGG16
        TRAINING,
        validation,
        config,
        device=CPU,
        resume=resume,
        save=save,
        on_progress=on_progress,
    )
    return network, state


def test_training_learns_to_order_photos_by_brightness() -> None:
    reports: list[Progress] = []
    network, state = _train(_config(), on_progress=reports.append)

    assert [len(report.epochs) for report in reports if report.epochs] == list(range(1, 16))
    assert [(report.epoch, report.done) for report in reports[:5]] == [(1, 0.5), *[(1, 1.0)] * 3, (2, 0.5)]
    assert state.epochs[-1].train_loss < 0.8 * state.epochs[0].train_loss
    assert state.epochs[-1].validation_auc == 1.0
    assert {epoch.learning_rate for epoch in state.epochs} == {0.5}
    assert all(epoch.photos_per_second > 0 for epoch in state.epochs)
    scores = pool_patches(network.logits_of(network.features_of(VALIDATION.photos)))[0][:, 1].tolist()
    assert scores == sorted(scores)
    assert len(set(scores)) == 4


def test_training_is_the_same_when_the_seed_is() -> None:
    first, again, other = (_train(_config(seed=seed))[0].head.weight.item() for seed in (1, 1, 2))

    assert first == again
    assert first != other


@pytest.mark.parametrize("stopped_after", [1, 7, 14])
def test_resumed_training_ends_with_the_same_weights(tmp_path: Path, stopped_after: int) -> None:
    """Through a checkpoint on disk, as a new process would."""
    config, path = _config(momentum=0.9, learning_rate=0.05), tmp_path / "checkpoint.safetensors"

    class StoppedError(Exception):
        pass

    def save_and_stop(state: TrainingState) -> None:
        write_checkpoint(path, state, run="r")
        if len(state.epochs) == stopped_after:
            raise StoppedError

    whole, whole_state = _train(config)
    with pytest.raises(StoppedError):
        _train(config, save=save_and_stop)
    torch.rand(100)  # advances the global generator, which must have no effect
    reports: list[Progress] = []
    resumed, state = _train(config, resume=read_checkpoint(path, run="r"), on_progress=reports.append)

    assert [len(report.epochs) for report in reports if report.epochs] == list(range(stopped_after, 16))
    for name, weights in whole.state_dict().items():
        assert torch.equal(weights, resumed.state_dict()[name]), name
    for one, other in zip(whole_state.epochs, state.epochs, strict=True):
        assert (one.train_loss, one.validation_loss, one.is_best) == (
            other.train_loss,
            other.validation_loss,
            other.is_best,
        )


def test_biases_are_in_order_after_every_step() -> None:
    network = BrightnessNetwork()
    batches = 0

    def check(_: Progress) -> None:
        nonlocal batches
        batches += 1
        assert bool((network.head.bias.diff() <= 0).all())

    _train(_config(learning_rate=5.0), network, validation=NOTHING, on_progress=check)
    assert batches >= 16


def test_training_stops_early_and_keeps_the_best_epoch() -> None:
    misleading = grey_photos([0, 255], [4, 0])  # labelled the other way round: the loss rises as the network learns

    network, state = _train(_config(epochs=50, patience=3), validation=misleading)

    best = min(state.epochs, key=lambda epoch: epoch.watched_loss)
    assert len(state.epochs) == best.number + 3 < 50
    assert state.best_epoch == best
    assert torch.equal(network.head.bias, state.best["head.bias"])


def test_frozen_convolutions_stay_as_they_are() -> None:
    before = BrightnessNetwork().convolution.weight.item()

    network, _ = _train(_config(weight_decay=0.1))

    assert network.convolution.weight.item() == before


def test_each_batch_reports_the_photos_of_the_epoch_and_their_rate() -> None:
    reports: list[Progress] = []

    _train(_config(epochs=2, batch_photos=3), validation=NOTHING, on_progress=reports.append)

    of_batches = [(report.photos, report.of_photos) for report in reports if report.photos]
    assert of_batches == 2 * [(3, 8), (6, 8), (8, 8)]
    assert all(report.photos_per_second for report in reports if report.photos)


def test_state_of_an_epoch_does_not_change_while_training_goes_on() -> None:
    """A background thread writes it."""
    states: list[TrainingState] = []
    copies: list[list[torch.Tensor]] = []

    def save(state: TrainingState) -> None:
        states.append(state)
        copies.append([weights.clone() for weights in (*state.network.values(), *state.momentum.values())])

    _train(_config(epochs=3), save=save)

    for state, copied in zip(states, copies, strict=True):
        found = (*state.network.values(), *state.momentum.values())
        assert all(torch.equal(one, other) for one, other in zip(found, copied, strict=True))


def test_training_ends_when_the_progress_callback_raises() -> None:
    class StopError(Exception):
        pass

    def stop(progress: Progress) -> None:
        if (progress.epoch, progress.done) == (2, 0.5):
            raise StopError

    with pytest.raises(StopError):
        _train(_config(), on_progress=stop)
