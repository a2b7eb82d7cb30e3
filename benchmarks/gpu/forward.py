"""The forward pass alone: precision by batch, as it is, with fused convolutions, and compiled once.

Axes: n photos, 5 patches, C channels.
"""

import time
from collections.abc import Iterator
from typing import Final

import torch
from torch import Tensor, nn

from benchmarks.gpu.run import PRECISIONS, Result, Row, Run
from triage.model.network import OrdinalVGG16

_TFLOP_PER_PHOTO: Final = 0.15347
"""Of VGG16's convolutions on five patches: 15.35 GMAC each."""


def measure(run: Run) -> Result:
    return {"forward": list(_sweep(run)), "compiled": list(_compiled(run))}


@torch.inference_mode()
def _sweep(run: Run) -> Iterator[Row]:
    for name, dtype in PRECISIONS.items():
        network = _network(run, dtype)
        for n in run.batches:
            if not run.has_time():
                return
            photos = torch.randint(0, 256, (n, 3, 448, 448), dtype=torch.uint8, device=run.device)
            started = time.perf_counter()
            network(photos)
            run.synchronise()
            first = time.perf_counter() - started
            plain = run.seconds(lambda: network(photos))  # noqa: B023  # called at once
            fused = run.seconds(lambda: _fused(network, photos))  # noqa: B023
            yield {
                "precision": name,
                "photos": n,
                "first pass, s": first,
                "photos/s": n / plain,
                "TFLOP/s": None if run.small else n / plain * _TFLOP_PER_PHOTO,
                "fused, photos/s": n / fused,
                "fused is off by": float((_fused(network, photos) - network(photos)).abs().max()),
            }


@torch.inference_mode()
def _compiled(run: Run) -> Iterator[Row]:
    """One batch of the product's size; skipped where compiling may take longer than the time left."""
    if not run.is_card or not run.has_time():
        return
    network = _network(run, torch.float16)
    photos = torch.randint(0, 256, (64, 3, 448, 448), dtype=torch.uint8, device=run.device)
    started = time.perf_counter()
    compiled = torch.compile(network)
    try:
        compiled(photos)
    except RuntimeError as error:  # TorchDynamoException: for example, the machine has no C compiler
        yield {"photos": 64, "compiling failed": type(error).__name__}
        return
    run.synchronise()
    compiling = time.perf_counter() - started
    yield {"photos": 64, "compiling, s": compiling, "photos/s": 64 / run.seconds(lambda: compiled(photos))}


def _network(run: Run, dtype: torch.dtype) -> OrdinalVGG16:
    network = run.network().to(run.device).to(memory_format=torch.channels_last).eval()
    network.features.to(dtype)
    network.reasons = None  # `_fused` has none; what they cost: benchmarks.reasons
    return network


def _fused(network: OrdinalVGG16, photos: Tensor) -> Tensor:
    """The network with convolution, bias and ReLU in one call: (n, 3, 448, 448) -> (n, 5, K)."""
    dtype = network.features[0].weight.dtype
    x = network.normalised_patches(photos).to(dtype, memory_format=torch.channels_last)  # (n*5, 3, 224, 224)
    layers = iter(network.features)
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            x = _convolve(x, layer)  # (n*5, C, h, w)
            next(layers)  # its ReLU
        else:
            x = layer(x)
    return network.logits_of(x)


def _convolve(x: Tensor, layer: nn.Conv2d) -> Tensor:
    if x.is_cuda:
        fused: Tensor = torch.cudnn_convolution_relu(x, layer.weight, layer.bias, (1, 1), (1, 1), (1, 1), 1)
        return fused
    return torch.relu(layer(x))
