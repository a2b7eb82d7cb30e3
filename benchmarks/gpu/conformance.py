"""How exact the card is: its logits against those of PyTorch in float32 on the CPU, and against itself.

Axes: n photos, 5 patches, K outputs.
"""

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Final

import torch
from torch import Tensor

from benchmarks.engines import draw_photos, verdict_of
from benchmarks.gpu.run import PRECISIONS, Result, Row, Run
from tests.support.replayed_engine import ReplayedEngine
from triage.model.engines.audited import AuditedEngine
from triage.model.engines.engine import EngineUnavailableError
from triage.model.engines.tolerance import EXACT, Tolerance, draw_pictures
from triage.model.engines.torch_cuda import TorchCudaEngine
from triage.model.engines.torch_exact import TorchEngine

_REPEATS: Final = 20


def measure(run: Run) -> Result:
    photos = torch.cat([draw_pictures(), draw_photos(2 if run.small else 60)])  # (n, 3, 448, 448)
    exact = TorchEngine(run.network()).logits(photos)  # (n, 5, K)
    return {
        "photos": len(photos),
        "against float32 on the CPU": list(_precisions(run, photos, exact)),
        **_against_itself(run, photos, exact),
    }


def _precisions(run: Run, photos: Tensor, exact: Tensor) -> Iterator[Row]:
    for name, dtype in PRECISIONS.items():
        engine = TorchCudaEngine(run.network(), run.device, dtype=dtype, photos_per_call=run.batches[-2])
        try:
            tolerance: Tolerance | None = AuditedEngine(engine).tolerance
        except EngineUnavailableError:
            tolerance = None
        for shape in sorted({1, *run.batches[-4:-1:2]}):
            found = torch.cat([engine.logits(part) for part in photos.split(shape)])
            yield {"precision": name, "photos a call": shape, **_errors(found, exact, run, tolerance)}
    network = run.network().to(run.device).to(memory_format=torch.channels_last).eval()
    with _tf32(), torch.inference_mode():
        found = torch.cat([network(part.to(run.device)).cpu() for part in photos.split(8)])
    yield {"precision": "tf32", "photos a call": 8, **_errors(found, exact, run, None)}


def _errors(found: Tensor, exact: Tensor, run: Run, tolerance: Tolerance | None) -> Row:
    card = run.card()
    error = (found - exact).abs()
    replayed = ReplayedEngine(found, exact, tolerance or EXACT)
    verdicts = [verdict_of(score, card) for score in replayed.scores(card)]
    expected = [verdict_of(score, card) for score in ReplayedEngine(exact, exact).scores(card)]
    return {
        "largest error": float(error.max()),
        "mean error": float(error.mean()),
        "largest of 1 + |logit|": float((error / (1 + exact.abs())).max()),
        "tolerance": None if tolerance is None else tolerance.scale,
        "scored twice": replayed.n_scored_exactly / len(found),
        "other verdicts": sum(a != b for a, b in zip(verdicts, expected, strict=True)),
    }


def _against_itself(run: Run, photos: Tensor, exact: Tensor) -> Result:
    """Differences between exact passes of the same photos: none, whatever the batch, the thread and the process."""
    engine = TorchCudaEngine(run.network(), run.device, dtype=torch.float32)
    first = engine.exact_logits(photos)
    others = []
    random = torch.Generator().manual_seed(0)
    for _ in range(_REPEATS):
        company = photos[torch.randint(len(photos), (7,), generator=random)]
        others.append(engine.exact_logits(torch.cat([company, photos[:1]]))[-1:])
    with ThreadPoolExecutor(1) as thread:
        elsewhere = thread.submit(_exact, run.device, run.small, photos[:8]).result()
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        later = process.submit(_exact, run.device, run.small, photos[:8]).result()
    return {
        "exact passes: from the CPU": float((first - exact).abs().max()),
        "exact passes: in other batches": max(float((other - first[:1]).abs().max()) for other in others),
        "exact passes: in another thread": float((elsewhere - first[:8]).abs().max()),
        "exact passes: in another process": float((later - first[:8]).abs().max()),
    }


def _exact(device: torch.device, small: bool, photos: Tensor) -> Tensor:  # noqa: FBT001  # sent to a process
    network = Run(device, small=small, cores=1).network()
    return TorchCudaEngine(network, device, dtype=torch.float32).exact_logits(photos)


@contextmanager
def _tf32() -> Iterator[None]:
    """TensorFloat-32 in this process, where nothing else scores."""
    settings = (torch.backends.cudnn.conv, torch.backends.cuda.matmul)  # type: ignore[attr-defined]
    former = [setting.fp32_precision for setting in settings]
    try:
        for setting in settings:
            setting.fp32_precision = "tf32"
        yield
    finally:
        for setting, precision in zip(settings, former, strict=True):
            setting.fp32_precision = precision
