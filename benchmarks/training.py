"""Throughput of a training epoch, relative to the bare forward and backward pass on the same tensors.

python -m benchmarks.training
"""

import argparse
import tempfile
import time
from pathlib import Path

import torch

from benchmarks.clinic import draw_jpegs
from triage.dataset.manifest import LabelledPhoto
from triage.imaging.decode import Decoder
from triage.model.coral import coral_loss
from triage.model.engines.choose import choose_device
from triage.model.network import OrdinalVGG16, draw_network, pool_patches
from triage.training.config import TrainingConfig
from triage.training.loop import train
from triage.training.photos import PhotoSet, load_photos


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3, help="an odd number, for the median")
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    device = choose_device(arguments.device)
    config = TrainingConfig(epochs=1, batch_photos=8)
    with tempfile.TemporaryDirectory() as folder:
        photos = _photos(Path(folder), arguments.photos)
        warm_up = PhotoSet(photos.photos[:8], photos.votes[:8], photos.labels[:8])
        _bare_seconds(draw_network(0), warm_up, config, device)
        shares = []
        for _ in range(arguments.rounds):
            bare = _bare_seconds(draw_network(0), photos, config, device)
            started = time.perf_counter()
            train(
                draw_network(0),
                photos,
                PhotoSet(photos.photos[:0], photos.votes[:0], []),
                config,
                device=device,
            )
            whole = time.perf_counter() - started
            shares.append(bare / whole)
            print(
                f"epoch {len(photos) / whole:.2f} photos/s, bare {len(photos) / bare:.2f} photos/s, {bare / whole:.1%}"
            )
    print(f"{device.type}: forward and backward are {sorted(shares)[len(shares) // 2]:.1%} of an epoch (median)")


def _bare_seconds(network: OrdinalVGG16, photos: PhotoSet, config: TrainingConfig, device: torch.device) -> float:
    """Forward and backward passes on batches that are already on the device."""
    network.to(device).to(memory_format=torch.channels_last).train()
    network.freeze_convolutions(config.frozen_convolutions)
    batches = [
        (batch.clone().to(device), votes.to(device))
        for batch, votes in zip(
            photos.photos.split(config.batch_photos), photos.votes.split(config.batch_photos), strict=True
        )
    ]
    started = time.perf_counter()
    for batch, votes in batches:
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            logits = network(batch)
        cumulative, _ = pool_patches(logits.float())
        coral_loss(cumulative, votes).backward()
        network.zero_grad(set_to_none=True)
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def _photos(folder: Path, n: int) -> PhotoSet:
    labels = []
    for index, jpeg in enumerate(draw_jpegs(n)):
        path = folder / f"{index}.jpg"
        path.write_bytes(jpeg)
        labels.append(LabelledPhoto(path, index % 5))
    photos, _ = load_photos(labels, folder / "photos", Decoder())
    return photos


if __name__ == "__main__":
    main()
