"""The HTTP interface over this test's services: in this process, with keys of registered clients."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from triage.clients import registration
from triage.domain.scopes import Scope
from worker.api.app import create_app
from worker.services import Services
from worker.tasks.base import WorkerServices

Headers = dict[str, str]


@pytest.fixture
def api(services: WorkerServices) -> Iterator[TestClient]:
    """The interface. Its failures are answers, as in production."""
    with TestClient(create_app(services, "http://testserver"), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def as_client(services: WorkerServices) -> Callable[..., Headers]:
    """Registers a client with these scopes, all by default, and returns the header with its key."""

    def register(*scopes: Scope, name: str = "ehr") -> Headers:
        made = registration.add(services.sessions, name, scopes or list(Scope), by="admin")
        return {"Authorization": f"Bearer {made.key}"}

    return register


@contextmanager
def working(services: Services, model_folder: Path) -> Iterator[None]:
    """Scores in a thread, as a worker does, with a model of the test."""
    model = services.registry.add_folder(model_folder, actor="test")
    services.registry.promote(model.card.weights_sha256, actor="test")
    ends = threading.Event()

    def work() -> None:
        with WorkerServices(services.settings) as own:
            while not ends.wait(0.02):
                own.scoring.drain()

    worker = threading.Thread(target=work)
    worker.start()
    try:
        yield
    finally:
        ends.set()
        worker.join()
