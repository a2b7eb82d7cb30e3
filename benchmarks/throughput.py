"""End-to-end throughput from an enqueued photo to a recorded decision, compared with alternatives in one run.

    python -m benchmarks.throughput --side 500 --json throughput.json

The contenders are interleaved round by round, because the machine is shared:

- whole: this product as deployed (intake, Postgres, Redis, a Celery worker) with each available engine;
- naive: one Celery task per photo, Pillow, five crops, eager float32, one commit per photo;
- litserve: a dynamic-batching server with the same network, if LitServe is installed;
- limit: the bare network on prepared tensors.
"""

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.clinic import draw_jpegs
from benchmarks.contenders.litserve import LitServe
from benchmarks.contenders.naive import Naive
from benchmarks.contenders.product import Product
from benchmarks.contenders.stages import measure_stages
from triage.imaging.decode import Decoder
from triage.model.artifact import read_artifact
from triage.model.engines.audited import AuditedEngine
from triage.model.engines.engine import Engine, EngineName, EngineUnavailableError
from triage.model.engines.mnn import MnnEngine
from triage.model.engines.torch_exact import TorchEngine
from triage.model.patches import resize_photo
from triage.model.starter import STARTER_FOLDER
from triage.model.weights import load_network


class Contender(Protocol):
    def score(self, photos: Sequence[bytes], n: int) -> float: ...

    def memory_mb(self) -> float: ...


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=500, help="side of the photos in pixels")
    parser.add_argument("--photos", type=int, default=24, help="photos per round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--alone", type=int, default=20, help="messages sent one by one to measure latency")
    parser.add_argument("--json", type=Path, help="file for the results")
    arguments = parser.parse_args()
    jpegs = draw_jpegs(8, arguments.side)
    engines = load_engines()
    with Decoder() as decoder, ExitStack() as stack:
        tensors = torch.stack([resize_photo(decoder.decode(data)) for data in jpegs])
        products = {name: stack.enter_context(Product(name)) for name in engines}
        running: dict[str, Contender] = {f"whole, {name}": product for name, product in products.items()}
        running["naive"] = stack.enter_context(Naive())
        if LitServe.is_installed():
            running["litserve"] = stack.enter_context(LitServe())
        contenders = {f"limit, {name}": partial(score_tensors, engine, tensors) for name, engine in engines.items()}
        contenders |= {name: partial(contender.score, jpegs) for name, contender in running.items()}
        seconds: dict[str, list[float]] = {name: [] for name in contenders}
        for number in range(arguments.rounds + 1):
            for name, score in contenders.items():
                took = score(arguments.photos if number else 4)
                if number:  # the first round warms up
                    seconds[name].append(took)
        result = {
            "photos": arguments.photos,
            "side": arguments.side,
            "threads": torch.get_num_threads(),
            "photos_per_second": {name: arguments.photos / statistics.median(times) for name, times in seconds.items()},
            "memory_mb": {name: contender.memory_mb() for name, contender in running.items()},
            "batch_fill": {name: product.batch_fill() for name, product in products.items()},
            "stages": measure_stages(jpegs, engines),
            "latency": {
                name: product.latency(jpegs, arguments.alone, score_tensors(engines[name], tensors, 8) / 8)
                for name, product in products.items()
            },
        }
    show(result)
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def load_engines() -> dict[EngineName, Engine]:
    engines: dict[EngineName, Engine] = {"torch": TorchEngine(load_network(*read_artifact(STARTER_FOLDER)))}
    try:
        engines["mnn"] = AuditedEngine(MnnEngine(load_network(*read_artifact(STARTER_FOLDER))))
    except EngineUnavailableError as error:
        print(error)
    return engines


def score_tensors(engine: Engine, tensors: torch.Tensor, n: int) -> float:
    """Seconds for n photos in the bare engine."""
    started = time.perf_counter()
    for number in range(n):
        engine.logits(tensors[[number % len(tensors)]])
    return time.perf_counter() - started


def show(result: dict[str, Any]) -> None:
    rates = result["photos_per_second"]
    table = Table("", "of its limit", "of naive", "memory, MB", "batch fill", box=None, header_style="bold")
    for name, rate in rates.items():
        engine = name.partition(", ")[2]
        limit = rates[f"limit, {engine or 'torch'}"]
        table.add_row(
            name,
            f"{rate / limit:.2f}",
            f"{rate / rates['naive']:.2f}",
            f"{result['memory_mb'][name]:.0f}" if name in result["memory_mb"] else "",
            f"{result['batch_fill'][engine]:.2f}" if name.startswith("whole") else "",
        )
    console = Console()
    console.print(table)
    print(f"naive: {rates['naive']:.2f} photos/s of {result['side']} x {result['side']} pixels on this machine\n")
    table = Table("stage", *result["stages"], box=None, header_style="bold")
    for stage in next(iter(result["stages"].values())):
        table.add_row(stage, *(f"{stages[stage]:.3f}" for stages in result["stages"].values()))
    console.print(table)
    print("seconds per photo as a share of the engine's forward pass\n")
    for name, latency in result["latency"].items():
        print(
            f"{name}: latency of a single message = forward pass + {latency['p50_ms']:.0f} ms (p50), "
            f"{latency['p99_ms']:.0f} ms (p99), n = {latency['n']}"
        )


if __name__ == "__main__":
    main()
