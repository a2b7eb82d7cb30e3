"""Closed services leave no connection open."""

import gc
from pathlib import Path

from worker.queues import TaskName
from worker.services import Services


def _sockets() -> set[str]:
    links = (str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink())
    return {link for link in links if link.startswith("socket:")}


def test_connections_for_results_are_closed_when_services_close(services: Services) -> None:
    before = _sockets()
    gc.disable()  # which would close them later
    try:
        with Services(services.settings) as other:
            result = other.celery.send_task(TaskName.DRAIN)
            assert result.state == "PENDING"
            other.celery.backend.result_consumer.start(result.id)
            assert _sockets() > before
        assert _sockets() == before
    finally:
        gc.enable()
