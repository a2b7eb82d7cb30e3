"""The types and texts that PyTorch raises, as reported for CUDA, cuDNN and cuBLAS."""

import pytest
import torch

from triage.errors import DeviceError, DeviceLostError, Fault
from triage.model.engines.device_faults import device_errors

FULL = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.06 GiB. GPU 0 has a total capacity of 79.10 GiB"),
    torch.AcceleratorError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
    RuntimeError("CUDA error: out of memory"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("GET was unable to find an engine to execute this computation"),
]
LOST = [
    torch.AcceleratorError("CUDA error: an illegal memory access was encountered"),
    torch.AcceleratorError("CUDA error: device-side assert triggered"),
    torch.AcceleratorError("CUDA error: unspecified launch failure"),
    torch.AcceleratorError("CUDA error: uncorrectable ECC error encountered"),
    RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
    RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm`"),
    RuntimeError("CUDA driver error: invalid argument"),
]
OTHER = [
    RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory: out of memory"),
    RuntimeError("The size of tensor a (3) must match the size of tensor b (4)"),
    ValueError("CUDA error"),
    MemoryError(),
]


@pytest.mark.parametrize("error", FULL, ids=str)
def test_card_is_full_whatever_library_says_so(error: Exception) -> None:
    with pytest.raises(DeviceError) as caught, device_errors():
        raise error

    assert (type(caught.value), caught.value.kind) == (DeviceError, Fault.NO_MEMORY)


@pytest.mark.parametrize("error", LOST, ids=str)
def test_card_is_lost_when_it_fails_for_another_reason(error: Exception) -> None:
    with pytest.raises(DeviceLostError), device_errors():
        raise error


@pytest.mark.parametrize("error", OTHER, ids=str)
def test_other_errors_pass_unchanged(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, device_errors():
        raise error

    assert caught.value is error
