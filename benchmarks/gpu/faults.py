"""Faults of a card, each in a process of its own: memory that runs out, and a context that is lost.

    python -m benchmarks.gpu.faults lost cuda

On a CPU the errors of a card are raised by hand.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, cast
from uuid import uuid4

import torch
from torch import Tensor, nn

from benchmarks.gpu.camera import draw_jpeg
from benchmarks.gpu.queue import MemoryQueue
from benchmarks.gpu.run import Result, Row, Run
from triage.blobs.source import PhotoSource
from triage.domain.ids import ModelVersionId
from triage.errors import DeviceError, DeviceLostError
from triage.imaging.decode import Decoder
from triage.model.engines.audited import AuditedEngine
from triage.model.engines.batch_size import BATCHES_TO_GROW
from triage.model.engines.torch_cuda import TorchCudaEngine
from triage.model.network import OrdinalVGG16
from triage.model.scorer import Scorer
from triage.scoring.assessor import PhotoAssessor, ScoringModel
from triage.scoring.drain import DrainLimits, drain

LOST: Final = 70
"""Exit status of a process whose card is lost, as that of the product's scoring process."""

_SECONDS: Final = 60


def measure(run: Run) -> Result:
    return {"faults": [_run(run, fault) for fault in ("full", "no-room", "lost", "after")]}


def _run(run: Run, fault: str) -> Row:
    command = [sys.executable, "-m", "benchmarks.gpu.faults", fault, str(run.device), *(["--small"] * run.small)]
    try:
        process = subprocess.run(
            command, capture_output=True, text=True, timeout=_SECONDS if run.is_card else None, check=False
        )
    except subprocess.TimeoutExpired:
        return {"fault": fault, "outcome": f"no end after {_SECONDS} s"}
    lines = process.stdout.splitlines()
    found = json.loads(lines[-1]) if lines else {"outcome": (process.stderr.splitlines() or ["no output"])[-1]}
    return {"fault": fault, "exit status": process.returncode, **found}


class _Faulty(nn.Module):
    """A network on a card that fails on demand."""

    largest: int | None = None
    """On a CPU: calls with more photos find the memory full."""
    passes_left: int | None = None
    """Passes until the context is lost."""

    def __init__(self, network: OrdinalVGG16) -> None:
        super().__init__()
        self.network = network
        self.features = network.features  # where an engine looks for the convolutions

    def forward(self, photos: Tensor) -> Tensor:
        if _Faulty.largest is not None and len(photos) > _Faulty.largest:
            raise torch.OutOfMemoryError("CUDA out of memory")
        if _Faulty.passes_left is not None:
            _Faulty.passes_left -= 1
            if _Faulty.passes_left < 0:
                _lose_context(photos)
        logits: Tensor = self.network(photos)
        return logits


def _lose_context(photos: Tensor) -> None:
    """An index that is out of range: the card stops, and each later call in this process fails."""
    if photos.is_cuda:
        photos.flatten()[torch.tensor([photos.numel() + 10**9], device=photos.device)].cpu()
    raise torch.AcceleratorError("CUDA error: device-side assert triggered")


def full(run: Run) -> Row:
    """Another program takes the memory: the batch is halved, gives the same, and grows again."""
    n = run.batches[-2]
    photos = torch.randint(0, 256, (n, 3, 448, 448), dtype=torch.uint8)
    engine = _engine(run, n)
    before = engine.logits(photos)
    _limit_memory(run, photos=n // 2)
    halved = engine.logits(photos)
    size = engine.photos_per_call
    _limit_memory(run, photos=None)
    for _ in range(BATCHES_TO_GROW):
        engine.logits(photos[:1])
    off = float((halved - before).abs().max())
    return {"outcome": "halved", "from": n, "to": size, "then": engine.photos_per_call, "logits off": off}


def no_room(run: Run) -> Row:
    """Not even one photo fits: an error of the card, not of the photo."""
    waits: list[float] = []
    engine = _engine(run, 4, wait=waits.append)
    _limit_memory(run, photos=0)
    try:
        engine.logits(torch.zeros(1, 3, 448, 448, dtype=torch.uint8))
    except DeviceError as error:
        return {"outcome": type(error).__name__, "waited, s": sum(waits)}
    return {"outcome": "no error"}


def lost(run: Run) -> Row:
    """The context is lost at the third batch: nothing is parked, no attempt counts."""
    engine = AuditedEngine(_engine(run, 4))  # its own passes come first
    _Faulty.passes_left = 2
    return _drained(run, engine)


def after(run: Run) -> Row:
    """The next process on the same card scores everything."""
    return _drained(run, AuditedEngine(_engine(run, 4)))


def _engine(run: Run, photos_per_call: int, wait: Callable[[float], object] = time.sleep) -> TorchCudaEngine:
    network = cast("OrdinalVGG16", _Faulty(run.network()))
    dtype = torch.float16 if run.is_card else torch.bfloat16  # on a CPU float16 takes four times as long
    return TorchCudaEngine(network, run.device, dtype=dtype, photos_per_call=photos_per_call, wait=wait)


def _drained(run: Run, engine: AuditedEngine) -> Row:
    card = run.card()
    queue = MemoryQueue(24, [draw_jpeg(0, (480, 640))])
    model = ScoringModel(ModelVersionId(uuid4()), card.threshold, Scorer.of(card, engine))
    outcome = "all scored"
    with Decoder(processes=1) as decoder, ThreadPoolExecutor(2) as threads:
        assessor = PhotoAssessor(model, source=cast("PhotoSource", queue), decoder=decoder, threads=threads)
        try:
            drain(queue, lambda: assessor, DrainLimits(4, seconds=30.0))
        except DeviceLostError as error:
            outcome = type(error).__name__
    unscored = set(queue.attempts) - set(queue.scored)
    return {
        "outcome": outcome,
        "scored": len(queue.scored),
        "parked": len(queue.parked),
        "attempts of the others": sum(queue.attempts[id_] for id_ in unscored),
    }


def _limit_memory(run: Run, photos: int | None) -> None:
    """Leaves memory for calls of this number of photos; None for all of it."""
    if not run.is_card:
        _Faulty.largest = photos
        return
    if photos is None:
        torch.cuda.set_per_process_memory_fraction(1.0, run.device)
        return
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(run.device).total_memory
    per_photo = 2.5 * 5 * 64 * 224 * 224 * 2  # of the first layer in half precision: input, output, and some
    allowed = torch.cuda.memory_reserved(run.device) + photos * per_photo
    torch.cuda.set_per_process_memory_fraction(min(1.0, allowed / total), run.device)


def main() -> None:
    fault, device, *options = sys.argv[1:]
    run = Run(torch.device(device), small="--small" in options, cores=2)
    found = {"full": full, "no-room": no_room, "lost": lost, "after": after}[fault](run)
    print(json.dumps(found), flush=True)
    if found["outcome"] == DeviceLostError.__name__:
        os._exit(LOST)  # as the product does: destructors would call the lost card


if __name__ == "__main__":
    main()
