"""Which engine runs a network on this machine."""

from collections.abc import Callable

import torch

from triage.errors import UsageError
from triage.quality.engines import Engine, EngineName, EngineUnavailableError
from triage.quality.engines.mnn import MnnEngine
from triage.quality.engines.torch_cuda import TorchCudaEngine
from triage.quality.engines.torch_exact import CPU, TorchEngine
from triage.quality.network import OrdinalVGG16


def choose_device(name: str, engine: EngineName = "auto") -> torch.device:
    """The device to score on: `auto` takes a CUDA card where there is one, else the CPU; any other name is torch's.

    Raises:
        UsageError: the engine does not run there.
    """
    device = torch.device(_automatic_device(engine) if name == "auto" else name)
    if engine == "mnn" and device.type != "cpu":
        raise UsageError(f"the engine mnn runs on the CPU, not on {name}: set TRIAGE_SCORER__DEVICE to cpu or auto")
    return device


def _automatic_device(engine: EngineName) -> str:
    return "cuda" if engine != "mnn" and torch.cuda.is_available() else "cpu"


def choose_engine(
    network: OrdinalVGG16,
    *,
    engine: EngineName = "auto",
    device: torch.device = CPU,
    threads: int | None = None,
    on_unavailable: Callable[[EngineUnavailableError], None] = lambda _: None,
) -> Engine:
    """Loads a network into an engine: on a card PyTorch, on a CPU MNN where it is installed and works, else PyTorch.

    Args:
        network: the engine takes it over.
        engine: `auto`, or the one to use.
        device: from `choose_device`.
        threads: CPU threads of MNN; as many as PyTorch's if not given.
        on_unavailable: told why PyTorch takes the place of MNN; not told of an MNN that nobody installed or asked for.
    """
    if device.type == "cuda":
        return TorchCudaEngine(network, device)
    if device.type == "cpu" and engine != "torch":
        try:
            return MnnEngine(network, threads=threads)
        except EngineUnavailableError as error:
            if engine == "mnn" or error.reason != "missing":
                on_unavailable(error)
    return TorchEngine(network, device)
