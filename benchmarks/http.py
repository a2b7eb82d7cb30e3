"""Messages per second over HTTP relative to the Python intake, and the memory of a server that receives large photos.

A server process, eight clients with a connection each. Photos are random bytes: nothing is decoded by intake.

    python -m benchmarks.http
"""

import argparse
import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import httpx2
import psutil
from rich.console import Console

from benchmarks.clinic import Clinic, clinic
from benchmarks.rates import seconds, show
from triage.clients import registration
from triage.domain.messages import IncomingAttachment, IncomingMessage
from triage.domain.scopes import Scope
from triage.files.hashing import sha256_of

MB = 2**20
CLIENTS = 8
PHOTO_BYTES = 60_000
LARGE_BYTES = 50 * MB
PYTHON, FORM, JSON = "Python intake", "HTTP, form", "HTTP, JSON with URIs"


@dataclass
class Server:
    """A server process over the clinic's database."""

    process: psutil.Process
    url: str
    key: str

    @contextmanager
    def client(self) -> Iterator[httpx2.Client]:
        headers = {"Authorization": f"Bearer {self.key}"}
        with httpx2.Client(base_url=self.url, headers=headers, timeout=300, trust_env=False) as client:
            yield client


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=400, help="messages of one photo in each round")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    rates: dict[str, list[float]] = {PYTHON: [], FORM: [], JSON: []}
    with clinic() as site, serve(site) as server:
        ways = {
            PYTHON: partial(by_python, site),
            FORM: partial(by_form, server),
            JSON: partial(by_uri, server),
        }
        for number in range(arguments.rounds):
            for name, send in ways.items():
                tag = f"{number}-{name.replace(' ', '').replace(',', '')}"
                rates[name].append(arguments.messages / seconds(partial(in_threads, send, tag, arguments.messages)))
        show(rates, reference=PYTHON, columns=("way", "messages/s, median", "of the Python intake"))
        report_memory(server)


@contextmanager
def serve(site: Clinic, client: str = "benchmark") -> Iterator[Server]:
    """Serves a clinic, to a new client of this name."""
    key = registration.add(site.sessions, client, list(Scope), by="benchmark").key
    url = site.sessions.kw["bind"].url.render_as_string(hide_password=False)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TRIAGE_")} | {
        "TRIAGE_HOME": str(site.folder / "state"),
        "TRIAGE_DATABASE__URL": url,
        "TRIAGE_REDIS__URL": "redis://127.0.0.1:9",  # no wake-ups: nothing is scored here
        "TRIAGE_BLOBS__URL": str(site.folder / "blobs"),
        "TRIAGE_INTAKE__URI_ROOTS": '["file:///photos"]',
        "TRIAGE_API__PORT": "0",
    }
    command = [sys.executable, "-c", "from worker.cli import main; main()", "serve"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        port = json.loads(process.stderr.readline())["port"]
        threading.Thread(target=process.stderr.read, daemon=True).start()
        try:
            yield Server(psutil.Process(process.pid), f"http://127.0.0.1:{port}", key or "")
        finally:
            process.terminate()


def in_threads(send: Callable[[str, range], None], tag: str, n: int) -> None:
    """Sends n messages by as many threads as there are clients."""
    with ThreadPoolExecutor(CLIENTS) as pool:
        shares = [range(first, n, CLIENTS) for first in range(CLIENTS)]
        for done in [pool.submit(send, tag, share) for share in shares]:
            done.result()


def by_python(site: Clinic, tag: str, numbers: range) -> None:
    for number in numbers:
        attachment = IncomingAttachment(data=os.urandom(PHOTO_BYTES))
        site.intake.enqueue([IncomingMessage("benchmark", f"{tag}-{number}", [attachment])])


def by_form(server: Server, tag: str, numbers: range) -> None:
    with server.client() as client:
        for number in numbers:
            post(client, f"{tag}-{number}", io.BytesIO(os.urandom(PHOTO_BYTES)))


def by_uri(server: Server, tag: str, numbers: range) -> None:
    with server.client() as client:
        for number in numbers:
            photo = {"uri": f"file:///photos/{tag}/{number}.jpg"}
            message = {"source": "benchmark", "message_id": f"{tag}-{number}", "attachments": [photo]}
            client.post("/v1/messages", json=message).raise_for_status()


def post(client: httpx2.Client, message: str, photo: io.BytesIO) -> None:
    document = json.dumps({"source": "benchmark", "message_id": message})
    files: dict[str, Any] = {"message": (None, document, "application/json"), "photo": ("1.jpg", photo, "image/jpeg")}
    client.post("/v1/messages", files=files).raise_for_status()


def report_memory(server: Server) -> None:
    """Eight clients send a photo of 50 MB at the same time."""
    photos = [io.BytesIO(os.urandom(LARGE_BYTES - number)) for number in range(CLIENTS)]
    hashes = {sha256_of(photo.getvalue()) for photo in photos}
    before, peak, done = server.process.memory_info().rss, 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.01):
            peak = max(peak, server.process.memory_info().rss)

    watching = threading.Thread(target=watch)
    watching.start()

    def send(number: int) -> None:
        with server.client() as client:
            post(client, f"large-{number}", photos[number])

    elapsed = seconds(lambda: list(ThreadPoolExecutor(CLIENTS).map(send, range(CLIENTS))))
    done.set()
    watching.join()
    Console().print(
        f"memory: {before / MB:.0f} MB before, at most {peak / MB:.0f} MB while {CLIENTS} clients sent "
        f"{LARGE_BYTES // MB} MB each ({len(hashes)} photos, {len(hashes) * LARGE_BYTES / MB / elapsed:.0f} MB/s)"
    )


if __name__ == "__main__":
    main()
