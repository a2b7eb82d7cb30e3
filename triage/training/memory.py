"""Passes that take fewer photos at a time when the memory of a card is full."""

import time
from collections.abc import Callable
from typing import TypeVar

import torch

from triage.errors import DeviceError, Fault
from triage.model.engines.batch_size import BatchSize
from triage.model.engines.device_faults import CARD_FULL, WAITS, is_out_of_memory

T = TypeVar("T")


def within_memory(
    size: BatchSize, photos: int, attempt: Callable[[int], T], *, wait: Callable[[float], object] = time.sleep
) -> T:
    """Calls `attempt` with smaller numbers of photos until it fits.

    Args:
        size: photos that are known to fit; it learns from the attempts.
        photos: to process.
        attempt: processes all photos, with at most this number at a time; must have no effect if it fails.
        wait: sleeps for a number of seconds.

    Raises:
        DeviceError: the memory stayed full for a single photo.
    """
    waits = iter(WAITS)
    while True:
        at_once = min(size.photos, photos)
        try:
            result = attempt(at_once)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        else:
            size.fitted()
            return result
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()  # after the except block, which keeps the failed pass's tensors alive
        if at_once > 1:
            size.failed(at_once)
        elif (seconds := next(waits, None)) is not None:
            wait(seconds)
        else:
            raise DeviceError(CARD_FULL, Fault.NO_MEMORY)
