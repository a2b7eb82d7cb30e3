"""CPU time to prepare a photo of each format (decode, resize, findings), relative to a reference in the same run.

The reference is torchvision's `decode_jpeg` and antialiased uint8 resize of the same photo as JPEG on one thread.

CPU time includes that of decoder processes, which the system counts in steps of 10 ms.

    python -m benchmarks.formats --width 4000 --height 3000
"""

import argparse
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import psutil
import torch
from rich.console import Console
from rich.table import Table
from torchvision.io import decode_jpeg
from torchvision.transforms.v2.functional import resize

from tests.support.photo_files import MAKERS
from triage.findings.rules import measure_findings
from triage.imaging.decode import Decoder
from triage.model.patches import resize_photo
from triage.samples.drawing import draw_skin_photo

Value = TypeVar("Value")

_REFERENCE = "torchvision"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=2900)
    parser.add_argument("--height", type=int, default=2700)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--formats", nargs="*", choices=sorted(MAKERS), default=list(MAKERS))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    photo = draw_skin_photo(1, size=(arguments.height, arguments.width))
    files = {name: MAKERS[name](photo) for name in arguments.formats}
    with Decoder() as decoder:
        show(measure(files, MAKERS["jpeg"](photo), decoder, arguments.rounds))
    with Decoder(processes=2) as decoder:
        in_turn, at_once = two_photos(MAKERS["heic"](photo), decoder)
    print(f"heic: two photos in two processes take {at_once / in_turn:.2f} of the time of two photos in sequence")


def measure(files: dict[str, bytes], reference: bytes, decoder: Decoder, rounds: int) -> dict[str, list[float]]:
    """CPU seconds of decode, resize and findings by format. Rounds are interleaved because the machine is shared."""
    seconds: dict[str, list[list[float]]] = defaultdict(list)
    encoded = torch.frombuffer(bytearray(reference), dtype=torch.uint8)
    for _ in range(rounds + 1):
        decoding, pixels = timed(decode_jpeg, encoded)
        resizing, _ = timed(resize, pixels, [448, 448])
        seconds[_REFERENCE].append([decoding, resizing, 0])
        for name, data in files.items():
            decoding, photo = timed(decoder.decode, data)
            resizing, small = timed(resize_photo, photo)
            finding, _ = timed(measure_findings, photo.upright, small.permute(1, 2, 0).numpy())
            seconds[name].append([decoding, resizing, finding])
    # the first round starts the decoder processes
    return {name: [statistics.mean(part) for part in zip(*times[1:], strict=True)] for name, times in seconds.items()}


def timed(work: Callable[..., Value], *arguments: Any) -> tuple[float, Value]:
    """CPU seconds of this process and its decoder processes."""
    start = cpu_seconds()
    result = work(*arguments)
    return cpu_seconds() - start, result


def cpu_seconds() -> float:
    children = (child.cpu_times() for child in psutil.Process().children())
    return time.process_time() + sum(times.user + times.system for times in children)


def two_photos(data: bytes, decoder: Decoder) -> tuple[float, float]:
    """Seconds to decode a photo twice, sequentially and concurrently."""
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(decoder.decode, [data, data]))  # starts both processes
        started = time.perf_counter()
        list(map(decoder.decode, [data, data]))
        between = time.perf_counter()
        list(threads.map(decoder.decode, [data, data]))
        return between - started, time.perf_counter() - between


def show(seconds: dict[str, list[float]]) -> None:
    whole = sum(seconds[_REFERENCE])
    table = Table("format", "decode", "resize", "findings", "whole", box=None, header_style="bold", pad_edge=False)
    for name, times in seconds.items():
        table.add_row(name, *(f"{part / whole:.2f}" for part in (*times, sum(times))))
    Console().print(table)
    print(f"1 is {whole * 1000:.0f} ms of CPU time on this machine: torchvision's decode_jpeg and resize, one thread")


if __name__ == "__main__":
    main()
