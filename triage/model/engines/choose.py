"""The choice of device and engine for this machine."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import torch

from triage.errors import UsageError
from triage.model.engines.engine import Engine, EngineName, EngineUnavailableError
from triage.model.engines.mnn import MnnEngine
from triage.model.engines.torch_cuda import TorchCudaEngine
from triage.model.engines.torch_exact import CPU, TorchEngine
from triage.model.network import OrdinalVGG16

_DEVICE_TYPES: Final[dict[EngineName, str]] = {"mnn": "cpu", "cuda": "cuda"}


def choose_device(name: str, engine: EngineName = "auto") -> torch.device:
    """Chooses the device to score on.

    Args:
        name: `auto`, for a CUDA GPU if there is one and the CPU otherwise, or torch's name of a device.
        engine: the engine that will run there.

    Raises:
        UsageError: the engine does not run on the device, or there is no GPU.
    """
    required_type = _DEVICE_TYPES.get(engine)
    device = torch.device((required_type or _automatic_device()) if name == "auto" else name)
    if required_type and device.type != required_type:
        raise UsageError(f"the engine {engine} does not run on {name}: set the device to auto")
    if engine == "cuda" and not torch.cuda.is_available():
        raise UsageError("the engine cuda finds no GPU: set the engine to auto, or check the driver")
    return device


def _automatic_device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def choose_engine(
    network: OrdinalVGG16,
    *,
    engine: EngineName = "auto",
    device: torch.device = CPU,
    cache: Path | None = None,
    on_unavailable: Callable[[EngineUnavailableError], None] = lambda _: None,
) -> Engine:
    """Loads a network into an engine: CUDA on a GPU; on a CPU MNN if it is installed and works, otherwise PyTorch.

    Args:
        network: must not be changed afterwards; the engine uses it.
        engine: `auto`, or the name of an engine; `torch` is PyTorch in float32 on any device.
        device: from `choose_device`.
        cache: folder for models in MNN's format; None keeps no file.
        on_unavailable: called if PyTorch replaces MNN, unless `auto` finds that MNN is not installed.
    """
    if device.type == "cuda":
        return TorchCudaEngine(network, device, dtype=torch.float32 if engine == "torch" else None)
    if device.type == "cpu" and engine != "torch":
        try:
            return MnnEngine(network, cache=cache)
        except EngineUnavailableError as error:
            if engine == "mnn" or error.reason != "missing":
                on_unavailable(error)
    return TorchEngine(network, device)
