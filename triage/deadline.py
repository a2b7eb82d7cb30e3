"""Time limits for code that waits for something outside Python, such as a pipe, a socket or a network volume."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Generic, TypeVar

Value = TypeVar("Value")


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


class SoleCall(Generic[Value]):
    """A function that may hang where nothing can end it, such as a read from a network volume whose server is away.

    It runs in a thread, and one call at a time: while it hangs, it holds this one thread, however often it is called.
    """

    def __init__(self, function: Callable[[], Value]) -> None:
        self._function = function
        self._lock = threading.Lock()
        self._call: Future[Value] | None = None

    def start(self) -> Future[Value]:
        """Calls the function, unless its last call has not ended; returns the call, whose result may never come.

        Raises:
            RuntimeError: the system starts no more threads.
        """
        with self._lock:
            if self._call is None or self._call.done():
                call: Future[Value] = Future()
                # a daemon, because a process does not end before its other threads
                threading.Thread(target=self._run, args=(call,), daemon=True).start()
                self._call = call  # only now: a call whose thread did not start would never end
            return self._call

    def _run(self, call: Future[Value]) -> None:
        try:
            call.set_result(self._function())
        except BaseException as error:
            call.set_exception(error)
