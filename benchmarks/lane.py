"""Photos that are checked before they are sent, while the inbox is full: their latency, and what the inbox loses.

A server process, a scoring worker on the CPU, the starter model. Rounds with and without the lane alternate. One client
checks a photo, waits for the answer, pauses and checks the next.

    python -m benchmarks.lane --photos 150
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import httpx2
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.clinic import draw_jpegs
from benchmarks.contenders.product import PHOTOS_PER_BATCH, Product
from benchmarks.throughput import score_tensors
from triage.clients import registration
from triage.domain.scopes import Scope
from triage.imaging.decode import Decoder
from triage.model.artifact import read_artifact
from triage.model.engines.audited import AuditedEngine
from triage.model.engines.engine import Engine
from triage.model.engines.mnn import MnnEngine
from triage.model.patches import resize_photo
from triage.model.starter import STARTER_FOLDER
from triage.model.weights import load_network

_WARM_UP: Final = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=1500, help="side of the photos in pixels")
    parser.add_argument("--photos", type=int, default=150, help="photos in the inbox in each round")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--pause", type=float, default=0.5, help="seconds between two checks")
    arguments = parser.parse_args()
    photos = draw_jpegs(8, arguments.side)
    forward = forward_seconds(AuditedEngine(MnnEngine(load_network(*read_artifact(STARTER_FOLDER)))), photos)
    alone: list[float] = []
    shared: list[float] = []
    latencies: list[float] = []
    with Product("mnn") as product, serve(product) as client:
        product.score(photos, _WARM_UP)  # the worker has loaded the model then
        idle = [check(client, photos[number % len(photos)]) for number in range(20)]
        for _ in range(arguments.rounds):
            alone.append(arguments.photos / product.score(photos, arguments.photos))
            with checking(client, photos, arguments.pause) as found:
                shared.append(arguments.photos / product.score(photos, arguments.photos))
            latencies += found
    show(forward, idle, latencies)
    rate, left = statistics.median(alone), statistics.median(shared)
    seconds = arguments.rounds * arguments.photos / left
    Console().print(
        f"inbox: {rate:.2f} photos/s alone, {left:.2f} beside the lane, {rate - left:.2f} fewer; "
        f"the lane: {len(latencies) / seconds:.2f} photos/s"
    )


def forward_seconds(engine: Engine, photos: Sequence[bytes]) -> float:
    """Of one photo, by this process, while the worker does not run."""
    with Decoder() as decoder:
        tensors = torch.stack([resize_photo(decoder.decode(photos[0]))])
    score_tensors(engine, tensors, 2)
    return statistics.median(score_tensors(engine, tensors, 1) for _ in range(10))


@contextmanager
def serve(product: Product) -> Iterator[httpx2.Client]:
    """A server over the product's services, and a client of it."""
    settings, sessions = product.services.settings, product.services.sessions
    key = registration.add(sessions, "benchmark", [Scope.PHOTOS_ASSESS], by="benchmark").key
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TRIAGE_")}
    environment |= {"TRIAGE_HOME": str(settings.home), "TRIAGE_API__PORT": "0", "TRIAGE_API__ASSESSMENT_SECONDS": "60"}
    command = [sys.executable, "-c", "from worker.cli import main; main()", "serve"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        port = json.loads(process.stderr.readline())["port"]
        threading.Thread(target=process.stderr.read, daemon=True).start()
        headers = {"Authorization": f"Bearer {key}"}
        try:
            with httpx2.Client(
                base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=60, trust_env=False
            ) as client:
                yield client
        finally:
            process.terminate()


def check(client: httpx2.Client, photo: bytes) -> float:
    """Seconds until the answer."""
    started = time.perf_counter()
    client.post("/v1/assessments", files={"photo": ("1.jpg", photo, "image/jpeg")}).raise_for_status()
    return time.perf_counter() - started


@contextmanager
def checking(client: httpx2.Client, photos: Sequence[bytes], pause: float) -> Iterator[list[float]]:
    """Checks photos in a thread, and collects their latencies."""
    ends, found = threading.Event(), list[float]()

    def run() -> None:
        while not ends.wait(pause):
            found.append(check(client, photos[len(found) % len(photos)]))

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield found
    finally:
        ends.set()
        thread.join()


def show(forward: float, idle: Sequence[float], full: Sequence[float]) -> None:
    table = Table(
        "inbox", "photos", "p50 ms", "p99 ms", "beyond the forward pass: p50", "p99", box=None, pad_edge=False
    )
    for name, latencies in (("empty", idle), ("full", full)):
        ordered = sorted(latencies)
        p50, p99 = statistics.median(ordered), ordered[min(len(ordered) - 1, round(0.99 * len(ordered)))]
        beyond = [f"{1000 * (each - forward):,.0f}" for each in (p50, p99)]
        table.add_row(name, str(len(ordered)), f"{1000 * p50:,.0f}", f"{1000 * p99:,.0f}", *beyond)
    console = Console()
    console.print(f"MNN: {1000 * forward:,.0f} ms for one photo; a pass of the inbox has {PHOTOS_PER_BATCH} photos")
    console.print(table)


if __name__ == "__main__":
    main()
