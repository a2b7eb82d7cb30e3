"""The stages before and around the network: preparing photos, gathering a batch, copying it, exact passes, nvJPEG."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import cycle, islice
from typing import Any

import torch
from torchvision.io import ImageReadMode, decode_jpeg

from benchmarks.gpu.run import Result, Row, Run
from triage.files.hashing import sha256_of
from triage.findings.rules import measure_findings
from triage.imaging.decode import Decoder
from triage.model.engines.torch_cuda import EXACT_PHOTOS, TorchCudaEngine
from triage.model.patches import resize_photo
from triage.model.preparation import prepare_photo


def measure(run: Run) -> Result:
    n = run.batches[-2]
    photos = [torch.randint(0, 256, (3, 448, 448), dtype=torch.uint8) for _ in range(n)]
    pinned = torch.stack(photos).pin_memory() if run.is_card else torch.stack(photos)
    engine = TorchCudaEngine(run.network(), run.device, photos_per_call=n)
    return {
        "one photo, one thread": list(_one_photo(run)),
        "prepared by threads": list(_prepared(run)),
        "photos in a batch": n,
        "gather a batch, ms": 1000 * run.seconds(lambda: torch.stack(photos)),
        "copy a batch, ms": 1000 * run.seconds(lambda: pinned.to(run.device, non_blocking=True)),
        "engine, photos/s": n / run.seconds(lambda: engine.logits(pinned)),
        "exact passes, photos/s": EXACT_PHOTOS / run.seconds(lambda: engine.exact_logits(pinned[:EXACT_PHOTOS])),
        "nvJPEG": list(_nvjpeg(run)),
    }


def _one_photo(run: Run) -> Iterator[Row]:
    with Decoder(processes=1) as decoder:
        for name, files in (("jpeg", run.jpegs), ("heic", run.heics)):
            photo = decoder.decode(files[0])
            small = resize_photo(photo)
            stages: dict[str, Callable[[], object]] = {
                "decode": partial(decoder.decode, files[0]),
                "resize": partial(resize_photo, photo),
                "findings": partial(measure_findings, photo.upright, small.permute(1, 2, 0).numpy()),
                "hash": partial(sha256_of, files[0]),
            }
            yield {"format": name, **{f"{stage}, ms": 1000 * run.seconds(work) for stage, work in stages.items()}}


def _prepared(run: Run) -> Iterator[Row]:
    for n in run.threads:
        if not run.has_time():
            return
        with Decoder(processes=n) as decoder, ThreadPoolExecutor(n) as threads:
            files = list(islice(cycle(run.jpegs), n * (2 if run.small else 6)))
            yield {"threads": n, "photos/s": _rate(files, lambda file: prepare_photo(file, decoder), threads)}


def _rate(files: Sequence[bytes], work: Callable[[bytes], Any], threads: ThreadPoolExecutor) -> float:
    started = time.perf_counter()
    list(threads.map(work, files))
    return len(files) / (time.perf_counter() - started)


def _nvjpeg(run: Run) -> Iterator[Row]:
    """For the record only: docs/decisions says why the product does not use it."""
    for n in (1, 16, 64):
        if not run.is_card or not run.has_time():
            return
        files = [torch.frombuffer(bytearray(file), dtype=torch.uint8) for file in islice(cycle(run.jpegs), n)]
        seconds = run.seconds(lambda: decode_jpeg(files, mode=ImageReadMode.RGB, device=run.device))  # noqa: B023
        yield {"photos a call": n, "photos/s": n / seconds}
