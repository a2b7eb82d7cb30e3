"""What an error of PyTorch says about a card: its memory is full, or it computes nothing more in this process.

PyTorch raises `OutOfMemoryError` only for its own allocator. CUDA, cuDNN and cuBLAS run out of memory with texts.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import torch

from triage.errors import DeviceError, DeviceLostError, Fault
from triage.model.engines.engine import DEVICE_LOST

CARD_FULL: Final = "the memory of the card is full: stop other programs on it, or use another card"

WAITS: Final = (1, 4, 16)
"""Seconds to wait for memory if a single photo does not fit: another program may use the card for a moment."""

_NO_MEMORY: Final = (
    "out of memory",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "unable to find an engine to execute",  # cuDNN: no kernel whose workspace fits
)
_CARD: Final = ("CUDA error", "CUDA driver", "CUDNN_STATUS_", "cuDNN error", "CUBLAS_STATUS_", "device-side assert")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the memory of a card is full."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return _is_of_card(error) and any(text in str(error) for text in _NO_MEMORY)


def is_device_lost(error: BaseException) -> bool:
    """Whether a card failed for another reason: each later call in this process fails too."""
    return _is_of_card(error) and not is_out_of_memory(error)


@contextmanager
def device_errors() -> Iterator[None]:
    """Raises errors of a card as those of this product.

    Raises:
        DeviceError: its memory is full.
        DeviceLostError: it failed for another reason.
    """
    try:
        yield
    except Exception as error:
        if is_out_of_memory(error):
            raise DeviceError(CARD_FULL, Fault.NO_MEMORY) from error
        if is_device_lost(error):
            raise DeviceLostError(DEVICE_LOST) from error
        raise


def _is_of_card(error: BaseException) -> bool:
    if isinstance(error, torch.AcceleratorError):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and any(part in text for part in (*_CARD, *_NO_MEMORY[1:]))
