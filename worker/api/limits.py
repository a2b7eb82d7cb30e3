"""Limits: the body of a request in bytes and time, and the requests of a client at the same time."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from starlette.types import Message, Receive, Send

from worker.api.problems import RequestError
from worker.codes import Code


def check_elements(body: bytes, most: int) -> None:
    """Bounds the elements of a JSON body before it is parsed: small ones need many times the memory of their text.

    It counts commas: a photo in base64 has none.

    Raises:
        RequestError: there are more than `most`.
    """
    if body.count(b",") > most:
        raise RequestError(Code.TOO_LARGE, f"the body has more than {most:,} elements: send several requests")


class LimitedBody:
    """`receive` of a request, with limits on its bytes, on the time between two pieces and on the whole time."""

    def __init__(
        self, receive: Receive, *, max_bytes: int, declared: int | None, idle_seconds: float, seconds: float
    ) -> None:
        """
        Args:
            receive: of the server.
            max_bytes: largest number of bytes.
            declared: the header `Content-Length`.
            idle_seconds: time limit for each piece.
            seconds: time limit for all of them, from the first read.
        """
        self._receive = receive
        self._max_bytes = max_bytes
        self._declared = declared
        self._idle_seconds = idle_seconds
        self._seconds = seconds
        self._deadline: float | None = None
        self._received = 0
        self._complete = False

    async def __call__(self) -> Message:
        """
        Raises:
            RequestError: a limit is exceeded.
        """
        if self._complete:  # the endpoint waits for the client to leave
            return await self._receive()
        if self._declared is not None and self._declared > self._max_bytes:
            raise self._too_large()
        now = time.monotonic()
        self._deadline = self._deadline or now + self._seconds
        try:
            async with asyncio.timeout(max(0, min(self._idle_seconds, self._deadline - now))):
                message = await self._receive()
        except TimeoutError:
            raise RequestError(
                Code.TIMED_OUT, "the body arrived too slowly: send it again", {"Connection": "close"}
            ) from None
        self._received += len(message.get("body", b""))
        self._complete = not message.get("more_body", False)
        if self._received > self._max_bytes:
            raise self._too_large()
        return message

    def _too_large(self) -> RequestError:
        return RequestError(
            Code.TOO_LARGE, f"the body has more than {self._max_bytes:,} bytes: send less in one request"
        )


def limited_send(send: Send, seconds: float) -> Send:
    """`send` of a response, with a time limit for a client that does not read it."""

    async def limited(message: Message) -> None:
        async with asyncio.timeout(seconds):
            await send(message)

    return limited


class Slots:
    """Counts the requests of each client in this process."""

    def __init__(self, per_client: int) -> None:
        self._per_client = per_client
        self._taken: Counter[str] = Counter()

    @contextmanager
    def take(self, actor: str) -> Iterator[None]:
        """
        Raises:
            RequestError: the client has as many requests in progress as it may have.
        """
        if self._taken[actor] >= self._per_client:
            raise RequestError(
                Code.TOO_MANY_REQUESTS,
                f"{self._per_client} requests of this client are in progress: wait for one of them, then retry",
                {"Retry-After": "1"},
            )
        self._taken[actor] += 1
        try:
            yield
        finally:
            self._taken[actor] -= 1
            if not self._taken[actor]:
                del self._taken[actor]
