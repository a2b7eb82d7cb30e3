"""A dynamic-batching server with the same network: LitServe, if it can be imported. It stores nothing."""

import http.client
import importlib.util
import io
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

import torch

from benchmarks.contenders.naive import read_patches
from benchmarks.contenders.product import PHOTOS_PER_BATCH, peak_memory_mb
from triage.quality.artifact import read_artifact
from triage.quality.network import pool_patches
from triage.quality.patches import N_PATCHES
from triage.quality.starter import STARTER_FOLDER
from triage.quality.weights import load_network

_WAITING = 16


class LitServe:
    """One server process with one worker, and clients that keep sixteen requests waiting."""

    @staticmethod
    def is_installed() -> bool:
        return importlib.util.find_spec("litserve") is not None

    def __enter__(self) -> Self:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]
        self._server = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.contenders.litserve", str(self._port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        for _ in range(600):
            try:
                if self._ask("GET", "/health") == 200:
                    return self
            except OSError:
                pass
            time.sleep(0.2)
        raise SystemExit("LitServe did not start")

    def __exit__(self, *_: object) -> None:
        os.killpg(self._server.pid, signal.SIGKILL)
        self._server.wait()

    def score(self, photos: Sequence[bytes], n: int) -> float:
        """Seconds until all n answers are there."""
        started = time.perf_counter()
        with ThreadPoolExecutor(_WAITING) as clients:
            answers = clients.map(lambda i: self._ask("POST", "/predict", photos[i % len(photos)]), range(n))
            if set(answers) != {200}:
                raise SystemExit("LitServe failed")
        return time.perf_counter() - started

    def memory_mb(self) -> float:
        return peak_memory_mb(self._server.pid)

    def _ask(self, method: str, path: str, body: bytes | None = None) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=300)
        try:
            connection.request(method, path, body, {"Content-Type": "application/octet-stream"})
            return connection.getresponse().status
        finally:
            connection.close()


def serve(port: int) -> None:
    import litserve  # type: ignore[import-not-found, unused-ignore]  # no dependency of this project
    from fastapi import Request  # type: ignore[import-not-found, unused-ignore]

    class Scorer(litserve.LitAPI):  # type: ignore[misc, unused-ignore]
        def setup(self, device: str) -> None:  # noqa: ARG002 - LitServe's signature
            self.network = load_network(*read_artifact(STARTER_FOLDER)).eval()

        async def decode_request(self, request: Request) -> Any:
            return read_patches(io.BytesIO(await request.body()))

        def batch(self, inputs: list[Any]) -> Any:
            return torch.cat(inputs)

        @torch.inference_mode()
        def predict(self, patches: Any) -> Any:
            network = self.network
            logits = network.logits_of(network.features((patches - network.mean) / network.std))
            return pool_patches(logits.view(-1, N_PATCHES, logits.shape[-1]))[0][:, 1].tolist()

        def unbatch(self, output: Any) -> Any:
            return output

        def encode_response(self, output: Any) -> Any:
            return {"score": output}

    api = Scorer(max_batch_size=PHOTOS_PER_BATCH, batch_timeout=0.05)
    litserve.LitServer(api, accelerator="cpu").run(host="127.0.0.1", port=port, generate_client_file=False)


if __name__ == "__main__":
    serve(int(sys.argv[1]))
