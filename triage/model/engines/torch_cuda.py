"""PyTorch on a CUDA card: half precision, few batch shapes, and smaller batches where the memory runs out."""

import copy
from typing import Final

import torch
from torch import Tensor, nn

from triage.model.engines.engine import is_exact_enough
from triage.model.patches import PHOTO_SIDE

LOGIT_TOLERANCE: Final = 0.05
"""Of half precision; a wide margin: on a CPU fp16 was off by .0011 on real photos, and no card has been measured."""

_TENSOR_CORES: Final = (7, 0)


class TorchCudaEngine:
    """A network on one card. Photos cross the bus as bytes; normalising them is the card's work."""

    name: Final = "cuda"

    def __init__(
        self, network: nn.Module, device: torch.device, *, dtype: torch.dtype | None = None, photos_per_call: int = 64
    ) -> None:
        """
        Args:
            network: from uint8 (n, 3, 448, 448) to (n, 5, K), as `OrdinalVGG16`; it is moved to `device`.
            device: a CUDA card. (Any other works the same, for tests.)
            dtype: of the convolutions; what suits the card if not given.
            photos_per_call: a power of two: photos in one forward pass. Halved until it fits into the card's memory.
        """
        self.device = device
        self._photos_per_call = photos_per_call
        self._exact = network.to(device).to(memory_format=torch.channels_last).eval()
        self._fast = _with_convolutions_in(dtype or dtype_of(device), self._exact)
        self.logit_tolerance = LOGIT_TOLERANCE if self._fast is not self._exact else 0.0
        self.logits(torch.zeros(photos_per_call, 3, PHOTO_SIDE, PHOTO_SIDE, dtype=torch.uint8))  # does it fit?
        if self._fast is not self._exact and not is_exact_enough(self):  # such as activations beyond half precision
            self._fast, self.logit_tolerance = self._exact, 0.0

    @property
    def photos_per_call(self) -> int:
        """What fits, as far as is known."""
        return self._photos_per_call

    def logits(self, photos: Tensor) -> Tensor:
        """As `Engine.logits`.

        Raises:
            torch.OutOfMemoryError: not even one photo fits.
        """
        return self._in_batches(self._fast, photos)

    def exact_logits(self, photos: Tensor) -> Tensor:
        """As `Engine.exact_logits`."""
        return self._in_batches(self._exact, photos)

    def _in_batches(self, network: nn.Module, photos: Tensor) -> Tensor:
        parts: list[Tensor] = []
        start = 0
        while start < len(photos):
            batch = photos[start : start + self._photos_per_call]
            try:
                parts.append(self._forward(network, batch))
            except torch.OutOfMemoryError:
                if self._photos_per_call == 1:
                    raise
                self._photos_per_call //= 2
            else:
                start += len(batch)
                continue
            torch.cuda.empty_cache()  # here the error no longer holds on to the tensors of the failed pass
        return torch.cat(parts)  # (n, 5, K)

    @torch.inference_mode()
    def _forward(self, network: nn.Module, photos: Tensor) -> Tensor:
        n = len(photos)
        # powers of two: cuDNN chooses its kernels once for each shape, and one photo does not pay for 64
        shape = (1 << (n - 1).bit_length(), *photos.shape[1:])
        padded = torch.zeros(shape, dtype=torch.uint8, pin_memory=self.device.type == "cuda")
        padded[:n] = photos
        with torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=False):
            logits: Tensor = network(padded.to(self.device, non_blocking=True))[:n]  # (n, 5, K)
        return logits.float().cpu()


def dtype_of(device: torch.device) -> torch.dtype:
    """Half precision where the card has tensor cores for it, else float32.

    Not bfloat16: it rounds eight times more coarsely, so that more photos would be scored twice.
    """
    has_tensor_cores = device.type == "cuda" and torch.cuda.get_device_capability(device) >= _TENSOR_CORES
    return torch.float16 if has_tensor_cores else torch.float32


def _with_convolutions_in(dtype: torch.dtype, network: nn.Module) -> nn.Module:
    if dtype == torch.float32:
        return network
    fast = copy.deepcopy(network)
    fast.get_submodule("features").to(dtype)
    return fast
