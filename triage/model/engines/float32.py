"""Float32 on a card without TensorFloat-32, which rounds to 10 bits and is cuDNN's default for convolutions."""

import torch
from torch import Tensor, nn


def use_card(device: torch.device) -> None:
    """Prepares this thread and process to compute on a device; does nothing for a CPU."""
    if device.type == "cuda":
        use_full_float32()
        # of this thread; pinned memory belongs to the current device. PyTorch refuses a device without a number here.
        torch.cuda.set_device(device.index or 0)


def use_full_float32() -> None:
    """Sets the arithmetic of this process, before its first pass on a card.

    Never a context such as `cudnn.flags`: flags belong to the process, so a thread that leaves a context changes the
    passes of others.
    """
    torch.backends.cudnn.allow_tf32 = False  # first: code that asks by this older name would get an error otherwise
    torch.backends.cudnn.conv.fp32_precision = "ieee"  # type: ignore[attr-defined]  # torch has no types for it
    torch.backends.cuda.matmul.fp32_precision = "ieee"
    torch.backends.cudnn.benchmark = True  # for the fast passes: fixed shapes, so that each is tuned once


def make_exact(network: nn.Module) -> nn.Module:
    """Makes convolutions on a card use the same kernels in each pass and process, whatever the flags. In place."""
    for layer in network.modules():
        if type(layer) is nn.Conv2d:
            layer.__class__ = _ExactConvolution
    return network


class _ExactConvolution(nn.Conv2d):
    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:  # noqa: A002  # torch's name
        if not input.is_cuda or isinstance(self.padding, str):
            plain: Tensor = super()._conv_forward(input, weight, bias)
            return plain
        output: Tensor = torch.cudnn_convolution(
            input,
            weight,
            padding=self.padding,
            stride=self.stride,
            dilation=self.dilation,
            groups=self.groups,
            benchmark=False,
            deterministic=True,
            allow_tf32=False,
        )
        return output if bias is None else output + bias[:, None, None]  # (n, C, H, W)
