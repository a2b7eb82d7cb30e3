"""The choice of device and engine for this machine."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Final

import torch

from triage.errors import DeviceError, DeviceLostError, Fault, ModelError, UsageError
from triage.model.engines.audited import AuditedEngine, Comparison
from triage.model.engines.engine import Engine, EngineName, EngineUnavailableError, Unavailability
from triage.model.engines.mnn import MnnEngine
from triage.model.engines.torch_cuda import TorchCudaEngine
from triage.model.engines.torch_exact import CPU, TorchEngine
from triage.model.network import OrdinalVGG16

OnUnavailable = Callable[[EngineUnavailableError], object]
OnCompared = Callable[[Comparison], object]

_DEVICE_TYPES: Final[dict[EngineName, str]] = {"mnn": "cpu", "cuda": "cuda"}
_SUPPORTED: Final = {"cpu", "cuda"}


def choose_device(name: str, engine: EngineName = "auto") -> torch.device:
    """Chooses the device to score on.

    Args:
        name: `auto`, for a CUDA GPU if there is one and the CPU otherwise, or torch's name of a device.
        engine: the engine that will run there.

    Raises:
        UsageError: there is no such kind of device, or the engine does not run on it.
        ModelError: PyTorch does not find the GPU.
    """
    required_type = _DEVICE_TYPES.get(engine)
    try:
        device = torch.device((required_type or _automatic_device()) if name == "auto" else name)
    except RuntimeError as error:
        raise UsageError(_unknown_device(name)) from error
    if device.type not in _SUPPORTED:
        raise UsageError(_unknown_device(name))
    if required_type and device.type != required_type:
        raise UsageError(f"the engine {engine} does not run on {name}: set the device to auto")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ModelError(f"PyTorch finds no GPU {device}: check the driver, or set the device and the engine to auto")
    return device


def describe_device(device: torch.device) -> str:
    """The device for logs and metrics, with the name of a GPU."""
    if device.type != "cuda":
        return str(device)
    index = torch.cuda.current_device() if device.index is None else device.index
    return f"cuda:{index} {torch.cuda.get_device_name(index)}"


def choose_engine(
    network: OrdinalVGG16,
    *,
    engine: EngineName = "auto",
    device: torch.device = CPU,
    is_replaceable: bool = True,
    cache: Path | None = None,
    on_unavailable: OnUnavailable = lambda _: None,
    on_compared: OnCompared = lambda _: None,
) -> Engine:
    """Loads a network into an engine: CUDA on a GPU; on a CPU MNN if it is installed and works, otherwise PyTorch.

    Only the thread that loads an engine on a GPU may use it.

    Args:
        network: must not be changed afterwards; the engine uses it.
        engine: `auto`, or the name of an engine; `torch` is PyTorch in float32 on any device.
        device: from `choose_device`.
        is_replaceable: whether the CPU replaces a GPU that cannot run the network.
        cache: folder for models in MNN's format; None keeps no file.
        on_unavailable: called if an engine is replaced, unless `auto` finds that MNN is not installed.
        on_compared: called whenever photos were scored twice.

    Raises:
        ModelError: the GPU cannot run the network.
        DeviceError: the memory of the GPU is full, or it has failed in this process.
    """
    if device.type == "cuda":
        try:
            # a copy, because nothing can be moved back from a GPU that has failed
            on_card = copy.deepcopy(network) if is_replaceable else network
            return _load_on_card(on_card, device, engine, on_unavailable, on_compared)
        except Exception as error:  # for example no kernels for this GPU, or a library that does not load
            if not is_replaceable:
                if _is_told(error, device):
                    raise
                raise ModelError(
                    f"the GPU {device} cannot run the network: check that this PyTorch and the driver support it"
                ) from error
            unavailable = EngineUnavailableError("cuda", _reason(error))
            unavailable.__cause__ = error.__cause__ or error
            on_unavailable(unavailable)
    if engine != "torch":
        try:
            return _load_mnn(network, cache, on_compared)
        except EngineUnavailableError as error:
            if engine == "mnn" or error.reason != "missing":
                on_unavailable(error)
    return TorchEngine(network)


def load_exact_engine(network: OrdinalVGG16, device: torch.device) -> Engine:
    """Loads a network for exact passes alone, equal to those of a scorer on such a device."""
    if device.type == "cuda":
        return AuditedEngine(TorchCudaEngine(network, device, dtype=torch.float32))
    return TorchEngine(network)


def _load_on_card(
    network: OrdinalVGG16,
    device: torch.device,
    engine: EngineName,
    on_unavailable: OnUnavailable,
    on_compared: OnCompared,
) -> Engine:
    if engine != "torch":
        try:
            return AuditedEngine(TorchCudaEngine(network, device), on_compared=on_compared)
        except EngineUnavailableError as error:
            on_unavailable(error)
    return AuditedEngine(TorchCudaEngine(network, device, dtype=torch.float32), on_compared=on_compared)


def _load_mnn(network: OrdinalVGG16, cache: Path | None, on_compared: OnCompared) -> Engine:
    try:
        return AuditedEngine(MnnEngine(network, cache=cache), on_compared=on_compared)
    except EngineUnavailableError:
        raise
    except Exception as error:  # it was loaded and does not run
        raise EngineUnavailableError("mnn", "broken") from error


def _is_told(error: Exception, device: torch.device) -> bool:
    """Whether the error says by itself why a GPU that was asked for by name cannot be used: it is full, or lost."""
    return _reason(error) == "no_memory" or (isinstance(error, DeviceLostError) and not _responds(device))


def _reason(error: Exception) -> Unavailability:
    return "no_memory" if isinstance(error, DeviceError) and error.kind is Fault.NO_MEMORY else "broken"


def _responds(device: torch.device) -> bool:
    """Whether the GPU can still be used in this process, even if PyTorch has no kernels for it."""
    try:
        return bool(torch.ones(1).to(device).cpu() == 1)  # copies alone
    except Exception:  # whatever it is, the process cannot use the GPU
        return False


def _automatic_device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def _unknown_device(name: str) -> str:
    return f"the device {name} is not supported: choose auto, cpu, cuda or cuda:N"
