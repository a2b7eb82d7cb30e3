"""A dynamic-batching LitServe server with the same network, if LitServe is installed. It stores nothing."""

import base64
import http.client
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Self

from benchmarks.contenders.product import peak_memory_mb

_WAITING = 16


class LitServe:
    """One server process with one worker, and clients that keep sixteen requests in flight."""

    @staticmethod
    def is_installed() -> bool:
        return importlib.util.find_spec("litserve") is not None

    def __enter__(self) -> Self:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]
        self._server = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.contenders.litserve_server", str(self._port)],
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
        """Seconds until all n answers have arrived."""
        started = time.perf_counter()
        with ThreadPoolExecutor(_WAITING) as clients:
            bodies = [json.dumps({"photo": base64.b64encode(photo).decode()}).encode() for photo in photos]
            answers = clients.map(lambda i: self._ask("POST", "/predict", bodies[i % len(bodies)]), range(n))
            if set(answers) != {200}:
                raise SystemExit("LitServe failed")
        return time.perf_counter() - started

    def memory_mb(self) -> float:
        return peak_memory_mb(self._server.pid)

    def _ask(self, method: str, path: str, body: bytes | None = None) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=300)
        try:
            connection.request(method, path, body, {"Content-Type": "application/json"})
            return connection.getresponse().status
        finally:
            connection.close()
