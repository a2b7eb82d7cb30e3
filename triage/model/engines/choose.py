"""Which engine runs a network on this machine."""

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
    """The device to score on: `auto` takes a CUDA card where there is one, else the CPU; any other name is torch's.

    Raises:
        UsageError: the engine does not run there.
    """
    own = _DEVICE_TYPES.get(engine)
    device = torch.device((own or _automatic_device()) if name == "auto" else name)
    if own and device.type != own:
        raise UsageError(f"the engine {engine} does not run on {name}: set TRIAGE_SCORER__DEVICE to auto")
    if engine == "cuda" and not torch.cuda.is_available():
        raise UsageError("the engine cuda finds no card: set TRIAGE_SCORER__ENGINE to auto, or mend the driver")
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
    """Loads a network into an engine: on a card CUDA, on a CPU MNN where it is installed and works, else PyTorch.

    Args:
        network: the engine takes it over.
        engine: `auto`, or the one to use; `torch` is PyTorch in float32 on any device.
        device: from `choose_device`.
        cache: folder for what MNN makes of models; nothing is kept if not given.
        on_unavailable: told why PyTorch takes the place of MNN; not told of an MNN that nobody installed or asked for.
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
