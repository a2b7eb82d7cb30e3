"""Which connections are guarded; `tests/system/end_to_end/test_forged_messages.py` sends forgeries to a worker."""

import pytest
from kombu.connection import Connection

from worker.app import create_app
from worker.broker.guard import _Transport
from worker.settings import RedisSettings, Settings


@pytest.mark.parametrize("url", ["redis://localhost/0", "rediss://localhost/0", "unix:///run/redis.sock"])
def test_each_connection_of_an_app_is_guarded(url: str) -> None:
    app = create_app(Settings(redis=RedisSettings.model_validate({"url": url})))

    for connection in (app.connection_for_read(), app.connection_for_write(), app.connection_for_write().clone()):
        assert isinstance(connection.transport, _Transport)


def test_connections_of_other_applications_are_not_guarded() -> None:
    create_app(Settings())

    assert not isinstance(Connection("redis://localhost/0").transport, _Transport)
