"""Memory of the card by precision and batch, of two models (a shadow), and of this process."""

from collections.abc import Iterator

import psutil
import torch

from benchmarks.gpu.run import PRECISIONS, Result, Row, Run
from triage.model.engines.torch_cuda import TorchCudaEngine


def measure(run: Run) -> Result:
    largest = run.batches[-2]
    return {
        "by batch": list(_by_batch(run)),
        **{f"two models, {name}": peak for name, peak in _peak(run, largest, models=2).items()},
        "this process, GB": psutil.Process().memory_info().rss / 1e9,
    }


def _by_batch(run: Run) -> Iterator[Row]:
    for name in PRECISIONS:
        for n in run.batches[-5::2]:
            if run.has_time():
                yield {"precision": name, "photos a call": n, **_peak(run, n, name)}


def _peak(run: Run, photos_per_call: int, precision: str = "float16", models: int = 1) -> Row:
    """Peaks of loading the engines and of one batch each; an exact engine loads its float32 network alone."""
    if run.is_card:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(run.device)
    before = torch.cuda.memory_allocated(run.device) if run.is_card else 0
    photos = torch.randint(0, 256, (photos_per_call, 3, 448, 448), dtype=torch.uint8)
    engines = [
        TorchCudaEngine(run.network(), run.device, dtype=PRECISIONS[precision], photos_per_call=photos_per_call)
        for _ in range(models)
    ]
    for engine in engines:
        engine.logits(photos)
    if not run.is_card:
        return {"peak, GB": None, "reserved, GB": None, "largest batch that fits": engines[-1].photos_per_call}
    return {
        "peak, GB": (torch.cuda.max_memory_allocated(run.device) - before) / 1e9,
        "reserved, GB": torch.cuda.max_memory_reserved(run.device) / 1e9,
        "largest batch that fits": engines[-1].photos_per_call,
    }
