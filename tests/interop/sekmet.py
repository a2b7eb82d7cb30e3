"""sekmet-fhir: a FHIR server that others wrote. It has its own token server, validates, and enforces scopes."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml
from joserfc.jwk import ECKey

FOREIGN = Path(__file__).parents[2] / ".venv" / "interop" / "bin"
ADMIN = {"Authorization": "Bearer admin-token"}


@dataclass
class Sekmet:
    """A running server, and what the hospital does on it.

    Attributes:
        base: its FHIR base.
        key_file: the private key of the client `triage`.
        http: a client.
    """

    base: str
    key_file: Path
    http: httpx2.Client

    def store(self, resource: dict[str, Any]) -> str:
        """Stores a resource, under its id if it has one, and returns its reference."""
        kind, id_ = resource["resourceType"], resource.get("id")
        method, path = ("PUT", f"{kind}/{id_}") if id_ else ("POST", kind)
        answer = self.http.request(method, f"{self.base}/{path}", json=resource, headers=ADMIN)
        assert answer.status_code in {200, 201}, answer.text
        return f"{kind}/{answer.json()['id']}"

    def find(self, reference: str) -> dict[str, Any]:
        """A resource, or a bundle of those that a search finds."""
        answer = self.http.get(f"{self.base}/{reference}", headers=ADMIN)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def change(self, reference: str, **fields: Any) -> None:
        """Changes elements of a resource."""
        self.store(self.find(reference) | fields)


@contextmanager
def serve_sekmet(folder: Path, *, scopes: str, **settings: Any) -> Iterator[Sekmet]:
    """Starts a server that knows the client `triage`.

    Args:
        folder: for its files.
        scopes: of the client, separated by spaces.
        settings: further ones of the server.
    """
    if not (FOREIGN / "sekmet").exists():
        pytest.skip("foreign programs are missing: `make test-interop` installs them")
    key = ECKey.generate_key("P-384")
    (folder / "client.pem").write_bytes(key.as_pem(private=True))
    (folder / "client.pub").write_bytes(key.as_pem(private=False))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    base = f"http://127.0.0.1:{port}/fhir"
    client = {"client_id": "triage", "public_key_path": str(folder / "client.pub"), "scopes": scopes}
    written = {
        "base_url": base,
        "host": "127.0.0.1",
        "port": port,
        "data_dir": str(folder / "data"),
        "own_private_key_path": str(folder / "client.pem"),
        "simulator": {"enabled": False},
        "server_auth": {"types": ["smart", "bearer"], "tokens": ["admin-token"], "smart_clients": [client]},
    }
    (folder / "settings.yaml").write_text(yaml.safe_dump(written | settings))
    environment = os.environ | {"SEKMET_CONFIG": str(folder / "settings.yaml")}
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen([FOREIGN / "sekmet", "serve"], cwd=folder, env=environment, stdout=log, stderr=log) as server,
        httpx2.Client(timeout=30) as http,
    ):
        try:
            _wait_until_up(server, f"{base}/metadata", http, folder / "log")
            yield Sekmet(base, folder / "client.pem", http)
        finally:
            server.terminate()


def _wait_until_up(server: subprocess.Popen[bytes], url: str, http: httpx2.Client, log: Path) -> None:
    deadline = time.monotonic() + 120
    while server.poll() is None and time.monotonic() < deadline:
        with suppress(httpx2.TransportError):
            if http.get(url).is_success:
                return
        time.sleep(0.2)
    raise AssertionError(log.read_text()[-2000:])
