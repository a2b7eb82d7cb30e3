"""A block of code that is ended from outside when its time is up."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def deadline(seconds: float, end: Callable[[], object]) -> Iterator[threading.Event]:
    """Calls `end` from a thread if the block takes longer; that has to break what the block waits for.

    Returns:
        An event that is set before `end` is called: it tells a late block from one that failed by itself. After the
        block, `end` is neither called nor still running.
    """
    is_over = threading.Event()

    def give_up() -> None:
        is_over.set()
        end()

    timer = threading.Timer(seconds, give_up)
    timer.daemon = True
    timer.start()
    try:
        yield is_over
    finally:
        timer.cancel()
        timer.join()
