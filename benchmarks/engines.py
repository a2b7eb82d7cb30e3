"""Compares every available engine with PyTorch in float32 (channels_last, CPU) in one run.

Reports relative speed, errors of logits and scores, photos scored twice and verdicts that differ, on drawn photos or
on the JPEGs of `--photos FOLDER`.

    python -m benchmarks.engines
"""

import argparse
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from tests.support.replayed_engine import ReplayedEngine
from triage.domain.card import Card
from triage.domain.photos import PhotoScore
from triage.imaging.decode import Decoder
from triage.imaging.degradation import Degradation, degrade
from triage.imaging.photo import DecodedPhoto
from triage.model.artifact import read_artifact
from triage.model.engines.audited import AuditedEngine
from triage.model.engines.engine import Engine, EngineUnavailableError
from triage.model.engines.mnn import MnnEngine
from triage.model.engines.torch_cuda import TorchCudaEngine
from triage.model.engines.torch_exact import TorchEngine
from triage.model.network import OrdinalVGG16
from triage.model.patches import N_PATCHES, resize_photo
from triage.model.starter import STARTER_FOLDER
from triage.model.weights import load_network
from triage.samples.drawing import SkinTone, draw_skin_photo

REFERENCE = "torch"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, help="folder of JPEGs")
    parser.add_argument("--max", type=int, default=24, help="number of photos")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of the speed measurement")
    parser.add_argument("--threads", type=int, help="CPU threads (default: PyTorch's)")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    photos = read_photos(arguments.photos, arguments.max) if arguments.photos else draw_photos(arguments.max)
    engines = load_engines()
    show(engines, speeds(engines, photos, arguments.rounds), photos)


def read_photos(folder: Path, most: int) -> Tensor:
    files = sorted(folder.rglob("*.jpg"))
    chosen = random.Random(0).sample(files, min(most, len(files)))
    with Decoder() as decoder:
        return torch.stack([resize_photo(decoder.decode(file.read_bytes())) for file in chosen])


def draw_photos(n: int) -> Tensor:
    """Drawn photos, half of them sharp."""
    photos = [draw_skin_photo(seed, tone=tuple(SkinTone)[seed % len(SkinTone)], size=(480, 480)) for seed in range(n)]
    kinds = tuple(Degradation)
    spoiled = [
        degrade(photo, kinds[seed // 2 % len(kinds)], 0.5, seed=seed) if seed % 2 else photo
        for seed, photo in enumerate(photos)
    ]
    return torch.stack([resize_photo(DecodedPhoto.of(photo)) for photo in spoiled])


def load_engines() -> dict[str, Engine]:
    builders: list[tuple[str, Callable[[OrdinalVGG16], Engine]]] = [
        (REFERENCE, TorchEngine),
        ("mnn", lambda network: AuditedEngine(MnnEngine(network))),
    ]
    if torch.cuda.is_available():
        builders.append(("cuda", lambda network: AuditedEngine(TorchCudaEngine(network, torch.device("cuda")))))
    engines = {}
    for name, build in builders:
        try:
            engines[name] = build(load_network(*read_artifact(STARTER_FOLDER)))
        except EngineUnavailableError as error:
            print(error)
    return engines


def speeds(engines: dict[str, Engine], photos: Tensor, rounds: int) -> dict[str, float]:
    """Photos per second. Rounds are interleaved because the machine is shared; a CPU gets one photo per round."""
    seconds: dict[str, list[float]] = {name: [] for name in engines}
    for round_ in range(-1, rounds):
        for name, engine in engines.items():
            batch = photos[[round_ % len(photos)]] if engine.device.type == "cpu" else photos
            start = time.perf_counter()
            engine.logits(batch)
            seconds[name].append((time.perf_counter() - start) / len(batch))
    return {name: 1 / statistics.median(times[1:]) for name, times in seconds.items()}  # the first round warms up


def show(engines: dict[str, Engine], speeds: dict[str, float], photos: Tensor) -> None:
    card, _ = read_artifact(STARTER_FOLDER)
    logits = {name: engine.logits(photos) for name, engine in engines.items()}
    exact = logits[REFERENCE]
    expected = ReplayedEngine(exact, exact).scores(card)
    table = Table("engine", "speed", "logits off", "tolerance", "scores off", "twice", "other verdicts", box=None)
    for name, found in logits.items():
        tolerance = engines[name].tolerance
        alone = ReplayedEngine(found, exact).scores(card)
        engine = ReplayedEngine(found, exact, tolerance)
        verdicts = [verdict_of(score, card) for score in engine.scores(card)]
        table.add_row(
            name,
            f"{speeds[name] / speeds[REFERENCE]:.2f}",
            f"{float((found - exact).abs().max()):.5f}",
            f"{tolerance.scale:.5f}",
            f"{max(abs(a.score - b.score) for a, b in zip(alone, expected, strict=True)):.5f}",
            f"{engine.n_scored_exactly}",
            f"{sum(a != verdict_of(b, card) for a, b in zip(verdicts, expected, strict=True))}",
        )
    Console().print(table)
    print(
        f"{len(photos)} photos, {torch.get_num_threads()} threads; 1 is {speeds[REFERENCE] * N_PATCHES:.1f} patches "
        f"a second on this machine: PyTorch in float32, channels_last, on the CPU"
    )


def verdict_of(score: PhotoScore, card: Card) -> tuple[bool, int]:
    return score.score >= card.threshold, score.grade


if __name__ == "__main__":
    main()
