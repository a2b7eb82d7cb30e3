"""The guard by itself; `tests/system/end_to_end/test_forged_messages.py` sends the same to a real worker."""

import base64
import bz2
from typing import Any

import pytest

from worker.broker.guard import _problem

ROUTES = {"inbox.submit": "intake"}


def _command(**headers: str) -> dict[str, Any]:
    """What workers tell each other, which is no task."""
    return {
        "body": base64.b64encode(bz2.compress(bytes(10**6))).decode(),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {"clock": 1, "expires": 1.5} | headers,
        "properties": {"delivery_tag": "1", "delivery_info": {}, "body_encoding": "base64"},
    }


@pytest.mark.parametrize("compression", ["application/x-bz2", "zlib", "nonsense"])
def test_nothing_is_unpacked_not_even_a_command(compression: str) -> None:
    """A few kilobytes may be gigabytes once they are unpacked, and a command reaches every worker at once."""
    assert _problem(_command(), "intake@host.celery.pidbox", ROUTES) is None
    assert _problem(_command(compression=compression), "intake@host.celery.pidbox", ROUTES) == "malformed"
