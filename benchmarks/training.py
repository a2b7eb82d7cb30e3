"""Training: photos prepared by several threads, and an epoch relative to its bare forward and backward passes.

python -m benchmarks.training
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import torch

from benchmarks.clinic import draw_jpegs
from triage.dataset.manifest import LabelledPhoto
from triage.imaging.decode import Decoder
from triage.model.coral import coral_loss
from triage.model.engines.choose import choose_device
from triage.model.network import OrdinalVGG16, draw_network, pool_patches
from triage.training.config import TrainingConfig
from triage.training.loop import train
from triage.training.photos import PhotoSet, levels_of_labels, load_photos


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, default=16, help="photos of an epoch")
    parser.add_argument("--to-prepare", type=int, default=64, help="photos prepared; they repeat those of the epoch")
    parser.add_argument("--side", type=int, default=2800, help="pixels of a photo's side")
    parser.add_argument("--threads", type=int, default=2, help="that prepare photos")
    parser.add_argument("--rounds", type=int, default=3, help="an odd number, for the median")
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    device = choose_device(arguments.device)
    config = TrainingConfig(epochs=1, batch_photos=8)
    with tempfile.TemporaryDirectory() as folder:
        labels = _draw(Path(folder), arguments.photos, arguments.side)
        to_prepare = (labels * (arguments.to_prepare // len(labels) + 1))[: arguments.to_prepare]
        ratios = []
        for _ in range(arguments.rounds):
            alone = _seconds(partial(_prepare, to_prepare, Path(folder), 1))
            together = _seconds(partial(_prepare, to_prepare, Path(folder), arguments.threads))
            ratios.append(alone / together)
            n = len(to_prepare)
            print(f"prepared by {arguments.threads} threads {n / together:.1f} photos/s, by one {n / alone:.1f}")
        print(f"{arguments.threads} threads prepare photos {median(ratios):.2f} times as fast as one (median)")
        photos = _prepare(labels, Path(folder), arguments.threads)
        few = PhotoSet(photos.photos[:8], photos.labels[:8])
        _bare(draw_network(0), few, config, device)
        _train(draw_network(0), few, config, device)
        shares = []
        for _ in range(arguments.rounds):
            bare = _bare(draw_network(0), photos, config, device)
            whole = _seconds(partial(_train, draw_network(0), photos, config, device), device)
            shares.append(bare / whole)
            n = len(photos)
            print(f"epoch {n / whole:.2f} photos/s, bare {n / bare:.2f} photos/s, {bare / whole:.1%}")
    print(f"{device.type}: forward and backward are {median(shares):.1%} of an epoch (median)")


def _train(network: OrdinalVGG16, photos: PhotoSet, config: TrainingConfig, device: torch.device) -> None:
    no_photos = PhotoSet(photos.photos[:0], [])
    train(network, photos, no_photos, config, device=device)


def _bare(network: OrdinalVGG16, photos: PhotoSet, config: TrainingConfig, device: torch.device) -> float:
    """The seconds of forward and backward passes on batches that are already on the device."""
    network.to(device).to(memory_format=torch.channels_last).train()
    network.freeze_convolutions(config.frozen_convolutions)
    targets = levels_of_labels(photos.labels, config.n_reviewers)
    batches = [
        (batch.clone().to(device), levels.to(device))
        for batch, levels in zip(
            photos.photos.split(config.batch_photos), targets.split(config.batch_photos), strict=True
        )
    ]

    def passes() -> None:
        for batch, levels in batches:
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                logits = network(batch)
            cumulative, _ = pool_patches(logits.float())
            coral_loss(cumulative, levels).backward()
            network.zero_grad(set_to_none=True)

    return _seconds(passes, device)


def _seconds(call: Callable[[], object], device: torch.device | None = None) -> float:
    """The wall time of a call and of what it started on the device."""
    _synchronise(device)
    started = time.perf_counter()
    call()
    _synchronise(device)
    return time.perf_counter() - started


def _synchronise(device: torch.device | None) -> None:
    if device is not None and device.type == "cuda":
        torch.cuda.synchronize(device)


def _draw(folder: Path, n: int, side: int) -> list[LabelledPhoto]:
    labels = []
    for index, jpeg in enumerate(draw_jpegs(n, side)):
        path = folder / f"{index}.jpg"
        path.write_bytes(jpeg)
        labels.append(LabelledPhoto(path, index % 5))
    return labels


def _prepare(labels: list[LabelledPhoto], folder: Path, threads: int) -> PhotoSet:
    with Decoder(processes=threads) as decoder:
        photos, _ = load_photos(labels, folder / "photos", decoder, threads=threads)
    return photos


if __name__ == "__main__":
    main()
