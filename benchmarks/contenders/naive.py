"""A naive worker: one Celery task per photo, five crops with Pillow, eager float32, one commit per photo."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, Self

import psycopg
import torch
from celery import Celery
from PIL import Image, ImageOps
from torchvision.transforms.v2.functional import pil_to_tensor

from benchmarks.contenders.product import peak_memory_mb
from triage.model.artifact import read_artifact
from triage.model.network import pool_patches
from triage.model.starter import STARTER_FOLDER
from triage.model.weights import load_network
from worker.embedded.postgres import EmbeddedPostgres
from worker.embedded.redis import EmbeddedRedis
from worker.state_folder import StateFolder

app = Celery("naive", broker=os.environ.get("NAIVE_BROKER"))


@cache
def _network() -> Any:
    return load_network(*read_artifact(STARTER_FOLDER)).eval()


@app.task  # type: ignore[untyped-decorator]
def score(path: str) -> None:
    patches = read_patches(path)  # (5, 3, 224, 224)
    network = _network()
    with torch.inference_mode():
        logits = network.logits_of(network.features((patches - network.mean) / network.std))
    cumulative, _ = pool_patches(logits)
    with psycopg.connect(os.environ["NAIVE_DATABASE"]) as connection:
        connection.execute("INSERT INTO score (path, score) VALUES (%s, %s)", (path, float(cumulative[0, 1])))


def read_patches(file: str | BinaryIO) -> torch.Tensor:
    """The four quarters and the centre of a photo, each resized: (5, 3, 224, 224), uint8."""
    with Image.open(file) as image:
        photo = ImageOps.exif_transpose(image).convert("RGB")
    width, height = photo.size[0] // 2, photo.size[1] // 2
    corners = [(0, 0), (width, 0), (0, height), (width, height), (width // 2, height // 2)]
    crops = [photo.crop((x, y, x + width, y + height)) for x, y in corners]
    return torch.stack([pil_to_tensor(crop.resize((224, 224), Image.Resampling.BICUBIC)) for crop in crops])


class Naive:
    """One Celery worker with one child over a temporary Postgres and Redis."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="triage-benchmark-", dir="/var/tmp"))
        self._folder.chmod(0o711)
        self._state = StateFolder(self._folder / "state")
        self._postgres, self._redis = EmbeddedPostgres(self._state), EmbeddedRedis(self._state)
        self._database = f"host={self._state.socket_dir} user=postgres dbname=naive"
        self._broker = f"redis+socket://{self._state.redis_socket}"

    def __enter__(self) -> Self:
        self._postgres.start()
        self._redis.start()
        self._postgres.ensure_database("naive")
        with psycopg.connect(self._database) as connection:
            connection.execute("CREATE TABLE score (path text, score float)")
        self._worker = subprocess.Popen(
            [sys.executable, "-m", "celery", "--app", "benchmarks.contenders.naive", "worker", "--concurrency", "1"],
            env=os.environ | {"NAIVE_BROKER": self._broker, "NAIVE_DATABASE": self._database},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        app.conf.broker_url = self._broker
        return self

    def __exit__(self, *_: object) -> None:
        os.killpg(self._worker.pid, signal.SIGKILL)
        self._worker.wait()
        self._redis.stop()
        self._postgres.stop("immediate")
        shutil.rmtree(self._folder)

    def score(self, photos: Sequence[bytes], n: int) -> float:
        """Seconds from the first task to the last commit."""
        started = time.perf_counter()
        with psycopg.connect(self._database, autocommit=True) as connection:
            connection.execute("TRUNCATE score")
            for index in range(n):
                path = self._folder / f"{index}.jpg"
                path.write_bytes(photos[index % len(photos)])
                score.delay(str(path))
            while connection.execute("SELECT count(*) FROM score").fetchone() != (n,):
                time.sleep(0.05)
        return time.perf_counter() - started

    def memory_mb(self) -> float:
        return peak_memory_mb(self._worker.pid)
