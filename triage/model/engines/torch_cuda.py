"""PyTorch on a CUDA GPU: half precision, few batch shapes, and smaller batches where memory runs out.

Axes: n photos, 5 patches, K outputs.
"""

import copy
import time
from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor, nn

from triage.errors import DeviceError, Fault
from triage.model.engines.batch_size import BatchSize
from triage.model.engines.device_faults import CARD_FULL, WAITS, device_errors, is_out_of_memory
from triage.model.engines.float32 import make_exact, use_card
from triage.model.patches import PHOTO_SIDE

EXACT_PHOTOS: Final = 8
"""Photos in each exact pass: in one shape, a photo has the same logits whatever it is scored with."""

_TENSOR_CORES: Final = (7, 0)


class TorchCudaEngine:
    """A network on one GPU, used by the thread that made it. Photos are copied to it as bytes and normalised there.

    In half precision its logits are not exact: `AuditedEngine` measures their error.
    """

    name: Final = "cuda"

    def __init__(
        self,
        network: nn.Module,
        device: torch.device,
        *,
        dtype: torch.dtype | None = None,
        photos_per_call: int = 64,
        wait: Callable[[float], object] = time.sleep,
    ) -> None:
        """
        Args:
            network: from uint8 (n, 3, 448, 448) to (n, 5, K), as `OrdinalVGG16`; it is moved to `device`.
            device: a CUDA GPU; in tests, any device.
            dtype: of the convolutions; by default as `dtype_of`.
            photos_per_call: photos in one fast pass; fewer if they do not fit into memory.
            wait: sleeps for a number of seconds.

        Raises:
            DeviceError: the card has no memory left, or fails.
        """
        self.device = device
        self._size = BatchSize(photos_per_call)
        self._wait = wait
        with device_errors():
            use_card(device)
            exact = network.to(device).to(memory_format=torch.channels_last).eval()
            self._slot = _zeros(max(self._size.photos, EXACT_PHOTOS), is_pinned=device.type == "cuda")
            self._fast = _with_convolutions_in(dtype or dtype_of(device), exact)
            self._exact = make_exact(exact)
            self._warm_up()

    @property
    def photos_per_call(self) -> int:
        """The largest batch that is known to fit."""
        return self._size.photos

    @property
    def shapes(self) -> list[int]:
        """Photos in the fast passes that are possible now, largest first; none in float32."""
        if self._fast is None:
            return []
        return [1 << power for power in reversed(range(self._size.photos.bit_length()))]

    def logits(self, photos: Tensor) -> Tensor:
        """As `Engine.logits`."""
        if self._fast is None:
            return self.exact_logits(photos)
        parts: list[Tensor] = []
        start = 0
        while start < len(photos):
            batch = photos[start : start + self._size.photos]
            # powers of two: cuDNN chooses kernels once a shape, and one photo does not cost as much as 64
            shape = 1 << (len(batch) - 1).bit_length()
            if shape == 1:
                logits = self._patiently(self._fast, batch, shape)
            elif (tried := self._try(self._fast, batch, shape)) is not None:
                logits = tried
            else:
                self._size.failed(shape)
                continue
            self._size.fitted()
            parts.append(logits)
            start += len(batch)
        return torch.cat(parts)  # (n, 5, K)

    def exact_logits(self, photos: Tensor) -> Tensor:
        """As `Engine.exact_logits`."""
        return torch.cat([self._patiently(self._exact, batch, EXACT_PHOTOS) for batch in photos.split(EXACT_PHOTOS)])

    def _warm_up(self) -> None:
        """Runs each shape once, in this thread: cuDNN chooses kernels by thread and shape."""
        empty = _zeros(self._size.photos)
        for shape in self.shapes:
            self.logits(empty[:shape])
        self.exact_logits(empty[:1])

    def _patiently(self, network: nn.Module, photos: Tensor, shape: int) -> Tensor:
        """One pass that is tried again while the memory is full, for a short time.

        Raises:
            DeviceError: the memory stayed full.
        """
        for seconds in (0, *WAITS):
            if seconds:
                self._wait(seconds)
            if (logits := self._try(network, photos, shape)) is not None:
                return logits
        raise DeviceError(CARD_FULL, Fault.NO_MEMORY)

    def _try(self, network: nn.Module, photos: Tensor, shape: int) -> Tensor | None:
        """One pass; None if the memory is full."""
        with device_errors():
            try:
                return self._forward(network, photos, shape)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
            if self.device.type == "cuda":
                torch.cuda.empty_cache()  # after the except block, which keeps the failed pass's tensors alive
        return None

    @torch.inference_mode()
    def _forward(self, network: nn.Module, photos: Tensor, shape: int) -> Tensor:
        batch = self._slot[:shape]  # padded with photos of earlier passes, whose logits are dropped
        batch[: len(photos)] = photos
        logits: Tensor = network(batch.to(self.device, non_blocking=True))[: len(photos)]  # (n, 5, K)
        return logits.float().cpu()  # waits for the pass, so the slot is free again


def _zeros(n: int, *, is_pinned: bool = False) -> Tensor:
    """uint8 (n, 3, 448, 448); pinned memory is copied to a card at the full speed of the bus."""
    return torch.zeros(n, 3, PHOTO_SIDE, PHOTO_SIDE, dtype=torch.uint8, pin_memory=is_pinned)


def dtype_of(device: torch.device) -> torch.dtype:
    """Half precision where the GPU has tensor cores, else float32.

    Not bfloat16: its rounding errors are eight times as large, so more photos would be scored twice.
    """
    has_tensor_cores = device.type == "cuda" and torch.cuda.get_device_capability(device) >= _TENSOR_CORES
    return torch.float16 if has_tensor_cores else torch.float32


def _with_convolutions_in(dtype: torch.dtype, network: nn.Module) -> nn.Module | None:
    """A copy of the network; None for float32."""
    if dtype == torch.float32:
        return None
    fast = copy.deepcopy(network)
    fast.get_submodule("features").to(dtype)
    return fast
