"""Waiting in a request until the database announces that something has changed."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar
from uuid import UUID

from starlette.requests import ClientDisconnect, Request

from worker.api.endpoint import Call

State = TypeVar("State")


async def wait_until(
    call: Call,
    id_: UUID,
    read: Callable[[], Awaitable[State]],
    *,
    is_done: Callable[[State], bool],
    seconds: float,
    at_least_every: float | None = None,
) -> State:
    """Reads a state at once, and again after each announcement about it, until it is done or the time is up.

    Args:
        call: the request that waits.
        id_: whom the announcements are about.
        read: reads the state.
        is_done: whether nothing more is to wait for.
        seconds: the longest time to wait.
        at_least_every: reads after this time without an announcement too, for servers behind a pooler.

    Raises:
        ClientDisconnect: the caller no longer waits.
        RequestError: the request has a body, which exceeds a limit.
    """
    left = asyncio.create_task(_until_client_leaves(call.request))
    try:
        with call.shared.announcements.about(id_) as announced, suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not is_done(state := await read()) and not call.shared.announcements.closed:
                    waiting = asyncio.create_task(announced.wait())
                    try:
                        await asyncio.wait({waiting, left}, timeout=at_least_every, return_when=asyncio.FIRST_COMPLETED)
                    finally:
                        waiting.cancel()
                    if left.done():
                        left.result()  # raises if the request has a body that is too slow or too large
                        raise ClientDisconnect
                    announced.clear()
                return state
    finally:
        left.cancel()
    return await read()  # also where no announcement can arrive, as behind a pooler


async def _until_client_leaves(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
