"""The machine: card, driver, libraries, cores, the peak of a matrix product, and the way to the card."""

import os
import platform
import shutil
import subprocess

import numpy as np
import PIL
import psutil
import torch
import torchvision

from benchmarks.gpu.run import Result, Run
from triage.model.engines.choose import describe_device
from triage.model.engines.float32 import use_full_float32

_QUERY = "name,driver_version,memory.total,power.limit,clocks.max.sm,mig.mode.current,pcie.link.gen.current"


def measure(run: Run) -> Result:
    use_full_float32()
    result: Result = {
        "device": describe_device(run.device),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "numpy": np.__version__,
        "pillow": PIL.__version__,
        "cores": os.cpu_count(),
        "physical cores": psutil.cpu_count(logical=False),
        "float32 convolutions": torch.backends.cudnn.conv.fp32_precision,  # type: ignore[attr-defined]
        "float32 products": torch.backends.cuda.matmul.fp32_precision,
        "cuDNN": torch.backends.cudnn.version(),
    }
    if run.is_card:
        properties = torch.cuda.get_device_properties(run.device)
        result |= {
            "multiprocessors": properties.multi_processor_count,
            "memory, GB": round(properties.total_memory / 1e9, 1),
            "id": str(properties.uuid),
            **_driver(),
        }
    return result | _peaks(run)


def _driver() -> Result:
    """What the driver says; nothing is changed."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return {}
    answer = subprocess.run(
        [program, f"--query-gpu={_QUERY}", "--format=csv,noheader"], capture_output=True, text=True, check=False
    )
    lines = answer.stdout.splitlines()
    return dict(zip(_QUERY.split(","), map(str.strip, lines[0].split(",")), strict=False)) if lines else {}


def _peaks(run: Run) -> Result:
    side, size = (64, 1 << 16) if run.small else (8192, 256 << 20)
    matrix = torch.randn(side, side, device=run.device, dtype=torch.bfloat16)
    pageable = torch.empty(size, dtype=torch.uint8)
    pinned = pageable.pin_memory() if run.is_card else pageable.clone()
    there = torch.empty_like(pageable, device=run.device)
    return {
        "bfloat16 product, TFLOP/s": 2 * side**3 / run.seconds(lambda: matrix @ matrix) / 1e12,
        "copy from pinned memory, GB/s": size / run.seconds(lambda: there.copy_(pinned, non_blocking=True)) / 1e9,
        "copy from pageable memory, GB/s": size / run.seconds(lambda: there.copy_(pageable)) / 1e9,
    }
