"""The checks of the guard alone; `tests/system/end_to_end/test_forged_messages.py` sends forgeries to a worker."""

import base64
import bz2
from typing import Any

import pytest
from kombu.connection import Connection

from worker.app import create_app
from worker.broker.guard import _problem, _Transport
from worker.settings import RedisSettings, Settings


def _command(**headers: str) -> dict[str, Any]:
    """A remote control command, which is not a task."""
    return {
        "body": base64.b64encode(bz2.compress(bytes(10**6))).decode(),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {"clock": 1, "expires": 1.5} | headers,
        "properties": {"delivery_tag": "1", "delivery_info": {}, "body_encoding": "base64"},
    }


@pytest.mark.parametrize("compression", ["application/x-bz2", "zlib", "nonsense"])
def test_compressed_message_is_rejected_even_when_it_is_a_command(compression: str) -> None:
    """A few kilobytes can decompress to gigabytes, and a command reaches all workers at once."""
    assert _problem(_command(), "intake@host.celery.pidbox") is None
    assert _problem(_command(compression=compression), "intake@host.celery.pidbox") == "malformed"


@pytest.mark.parametrize("url", ["redis://localhost/0", "rediss://localhost/0", "unix:///run/redis.sock"])
def test_each_connection_of_an_app_is_guarded(url: str) -> None:
    app = create_app(Settings(redis=RedisSettings.model_validate({"url": url})))

    for connection in (app.connection_for_read(), app.connection_for_write(), app.connection_for_write().clone()):
        assert isinstance(connection.transport, _Transport)


def test_connections_of_other_applications_are_not_guarded() -> None:
    create_app(Settings())

    assert not isinstance(Connection("redis://localhost/0").transport, _Transport)
