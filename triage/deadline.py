"""A time limit for a block of code that waits for something outside Python, such as a pipe or a socket."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def deadline(seconds: float, end: Callable[[], object]) -> Iterator[threading.Event]:
    """Calls `end` from another thread if the block exceeds its time.

    After the block, `end` is not called, and a call that had started has returned.

    Args:
        seconds: the time limit.
        end: must make the block fail, for example by closing the socket that it reads.

    Yields:
        An event that is set before `end` is called. It shows whether a block failed because of the time limit.
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
