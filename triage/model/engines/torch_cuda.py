"""PyTorch on a CUDA GPU: half precision, few batch shapes, and smaller batches where memory runs out.

Axes: n photos, 5 patches, K outputs.
"""

import copy
from typing import Final

import torch
from torch import Tensor, nn

from triage.model.engines.engine import is_exact_enough
from triage.model.patches import PHOTO_SIDE

LOGIT_TOLERANCE: Final = 0.05
"""Of half precision, with a wide margin: on a CPU the largest error of fp16 on real photos was .0011."""

_TENSOR_CORES: Final = (7, 0)


class TorchCudaEngine:
    """A network on one GPU. Photos are copied to it as bytes and normalised there."""

    name: Final = "cuda"

    def __init__(
        self, network: nn.Module, device: torch.device, *, dtype: torch.dtype | None = None, photos_per_call: int = 64
    ) -> None:
        """
        Args:
            network: from uint8 (n, 3, 448, 448) to (n, 5, K), as `OrdinalVGG16`; it is moved to `device`.
            device: a CUDA GPU; in tests, any device.
            dtype: of the convolutions; by default as `dtype_of`.
            photos_per_call: photos in one forward pass, a power of two; halved until they fit into memory.
        """
        self.device = device
        self._photos_per_call = photos_per_call
        self._exact = network.to(device).to(memory_format=torch.channels_last).eval()
        self._fast = _with_convolutions_in(dtype or dtype_of(device), self._exact)
        self.logit_tolerance = LOGIT_TOLERANCE if self._fast is not self._exact else 0.0
        self.logits(
            torch.zeros(photos_per_call, 3, PHOTO_SIDE, PHOTO_SIDE, dtype=torch.uint8)
        )  # halves the batch until it fits
        if self._fast is not self._exact and not is_exact_enough(
            self
        ):  # for example, activations overflow half precision
            self._fast, self.logit_tolerance = self._exact, 0.0

    @property
    def photos_per_call(self) -> int:
        """The largest batch that is known to fit."""
        return self._photos_per_call

    def logits(self, photos: Tensor) -> Tensor:
        """As `Engine.logits`.

        Raises:
            torch.OutOfMemoryError: a single photo does not fit.
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
            torch.cuda.empty_cache()  # after the except block, which keeps the failed pass's tensors alive
        return torch.cat(parts)  # (n, 5, K)

    @torch.inference_mode()
    def _forward(self, network: nn.Module, photos: Tensor) -> Tensor:
        n = len(photos)
        # padded to powers of two: cuDNN chooses kernels once a shape, and one photo does not cost as much as 64
        shape = (1 << (n - 1).bit_length(), *photos.shape[1:])
        padded = torch.zeros(shape, dtype=torch.uint8, pin_memory=self.device.type == "cuda")
        padded[:n] = photos
        with torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=False):
            logits: Tensor = network(padded.to(self.device, non_blocking=True))[:n]  # (n, 5, K)
        return logits.float().cpu()


def dtype_of(device: torch.device) -> torch.dtype:
    """Half precision where the GPU has tensor cores, else float32.

    Not bfloat16: its rounding errors are eight times as large, so more photos would be scored twice.
    """
    has_tensor_cores = device.type == "cuda" and torch.cuda.get_device_capability(device) >= _TENSOR_CORES
    return torch.float16 if has_tensor_cores else torch.float32


def _with_convolutions_in(dtype: torch.dtype, network: nn.Module) -> nn.Module:
    if dtype == torch.float32:
        return network
    fast = copy.deepcopy(network)
    fast.get_submodule("features").to(dtype)
    return fast
