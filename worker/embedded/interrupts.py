"""Ctrl-C and SIGTERM where an exception would leave a process behind that no file records."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collected_signals() -> Iterator[list[int]]:
    """Collects SIGINT and SIGTERM in the yielded list until the end of the block, instead of handling them."""
    received: list[int] = []
    previous = {
        number: signal.signal(number, lambda number, _: received.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextmanager
def deferred_signals() -> Iterator[None]:
    """Handles SIGINT and SIGTERM at the end of the block."""
    if threading.current_thread() is not threading.main_thread():  # Python handles signals in the main thread
        yield
        return
    with collected_signals() as received:
        yield
    for number in received:
        signal.raise_signal(number)
