"""What hostile senders cost: the memory of a worker that decodes bombs, and the time that a hung web server takes.

A real scoring worker with two decoder processes drains the photos.

    .venv/bin/python -m benchmarks.attack

- Memory: the peak of the proportional set size (PSS) of the worker and all its descendants, for photos of a phone and
  for files of few bytes just below the limit of pixels.
- Hung server: the time until good photos are scored, alone and behind photos at URIs of a web server that accepts
  connections and never answers.
"""

import argparse
import io
import json
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import psutil
from PIL import Image

from benchmarks.clinic import draw_jpegs
from benchmarks.contenders.product import Product
from triage.domain.messages import IncomingAttachment, IncomingMessage
from triage.samples.drawing import draw_skin_photo

_SIDE: Final = 9999
_COLOURS: Final[dict[str, float | tuple[float, ...]]] = {
    "RGB": (190, 140, 120),
    "RGBA": (190, 140, 120, 200),
}
_FETCH_SECONDS: Final = 5.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bombs", type=int, default=4, help="photos of each kind")
    parser.add_argument("--photos", type=int, default=16, help="good photos")
    parser.add_argument("--hung", type=int, default=24, help="photos at the hung server")
    parser.add_argument("--json", type=Path, help="file for the results")
    arguments = parser.parse_args()
    with _hung_server() as port:
        root = f"http://127.0.0.1:{port}/in"
        variables = {
            "INTAKE__URI_ROOTS": json.dumps([root]),
            "INTAKE__LOCAL_NETWORKS": '["127.0.0.0/8"]',
            "INTAKE__FETCH_SECONDS": str(_FETCH_SECONDS),
            "INTAKE__MAX_BYTES": str(60 * 2**20),
        }
        with Product("torch", variables) as product:
            product.score(draw_jpegs(4), 4)  # warms up
            result = {
                "memory_mb": measure_memory(product, arguments.bombs, arguments.photos),
                "photos": product.outcomes(),
                "hung_server": measure_hung_server(product, root, arguments.photos, arguments.hung),
            }
    print(json.dumps(result, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(result), encoding="utf-8")


def measure_memory(product: Product, n_bombs: int, n_photos: int) -> dict[str, float]:
    """Peak PSS in MB by kind of photo, in this order: processes keep what they have allocated."""
    phone = [_encoded(draw_skin_photo(seed, size=(4000, 3000)), "JPEG", quality=90) for seed in range(2)]
    kinds: dict[str, tuple[list[bytes], int]] = {"idle": ([], 0), "phone, 12 million pixels, JPEG": (phone, n_photos)}
    for mode, colour in _COLOURS.items():
        bomb = _encoded(Image.new(mode, (_SIDE, _SIDE), colour), "PNG", compress_level=1)
        kinds[f"{_SIDE} x {_SIDE} PNG, {mode}"] = (_varied(bomb, n_bombs), n_bombs)
    for fmt, options in (("JPEG", {"quality": 90}), ("WEBP", {"method": 0})):
        bomb = _encoded(Image.new("RGB", (_SIDE, _SIDE), _COLOURS["RGB"]), fmt, **options)
        kinds[f"{_SIDE} x {_SIDE} {fmt}"] = (_varied(bomb, n_bombs), n_bombs)
    peaks = {}
    for kind, (photos, n) in kinds.items():
        with _peak_pss(product.worker_pid) as peak:
            if photos:
                product.score(photos, n)
            else:
                time.sleep(1)
        peaks[kind] = round(peak(), 0)
        print(f"{kind}: {peaks[kind]:.0f} MB", file=sys.stderr, flush=True)
    return peaks


def measure_hung_server(product: Product, root: str, n_photos: int, n_hung: int) -> dict[str, float]:
    """Seconds until the good photos are scored, and how often the time limit of a fetch was added."""
    jpegs = draw_jpegs(n_photos)
    alone = product.score(jpegs, n_photos)
    print(f"{n_photos} photos alone: {alone:.1f} s", file=sys.stderr, flush=True)
    with product.paused():  # so that the hung photos are first in the queue
        product.send(
            [
                IncomingMessage("hung", f"hung-{number}", [IncomingAttachment(uri=f"{root}/{number}.jpg")])
                for number in range(n_hung)
            ]
        )
        product.send(
            [
                IncomingMessage("good", f"good-{number}", [IncomingAttachment(data=data)])
                for number, data in enumerate(jpegs)
            ]
        )
    started = time.perf_counter()
    product.wait_for("good")
    behind = time.perf_counter() - started
    return {
        "alone_seconds": round(alone, 1),
        "behind_hung_seconds": round(behind, 1),
        "in_time_limits_of_a_fetch": round((behind - alone) / _FETCH_SECONDS, 1),
    }


def _varied(photo: bytes, n: int) -> list[bytes]:
    """The photo in files of different bytes."""
    return [photo + bytes(number) for number in range(n)]


def _encoded(image: Image.Image, fmt: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, fmt, **options)
    return file.getvalue()


@contextmanager
def _peak_pss(pid: int) -> Iterator[Callable[[], float]]:
    """Samples the PSS of a process and its descendants; afterwards the call returns the peak in MB."""
    peak, over = 0, threading.Event()

    def sample() -> None:
        nonlocal peak
        while not over.wait(0.05):
            peak = max(peak, _pss(pid))

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield lambda: peak / 1024
    finally:
        over.set()
        thread.join()


def _pss(pid: int) -> int:
    process, kilobytes = psutil.Process(pid), 0
    for each in (process, *process.children(recursive=True)):
        with suppress(OSError, psutil.NoSuchProcess):
            text = Path(f"/proc/{each.pid}/smaps_rollup").read_text(encoding="ascii")
            kilobytes += int(text.partition("\nPss:")[2].split()[0])
    return kilobytes


@contextmanager
def _hung_server() -> Iterator[int]:
    """A server whose connections are never answered; yields its port."""
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listening:
        yield listening.getsockname()[1]


if __name__ == "__main__":
    main()
