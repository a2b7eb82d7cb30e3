"""Finds NVIDIA cards without PyTorch: a machine may have a card that its driver or its container hides."""

import ctypes
import os
from pathlib import Path
from typing import Final

_NVIDIA: Final = "0x10de"
_DISPLAY: Final = "0x03"  # the class of graphics and compute cards; others are audio or USB
_CONTAINER_MARKS: Final = (".dockerenv", "run/.containerenv")


def has_card(root: Path = Path("/")) -> bool:
    """Whether this machine or container was given an NVIDIA card, even if no driver responds.

    A container sees all cards of its host on the bus, so there only what it was given counts.
    """
    if os.environ.get("NVIDIA_VISIBLE_DEVICES", "void") not in {"", "void", "none"}:
        return True
    if any(root.glob("dev/nvidia[0-9]*")):
        return True
    if _is_container(root):
        return False
    return any(_is_card(device) for device in root.glob("sys/bus/pci/devices/*"))


def driver_responds() -> bool:
    """Whether the driver is loaded and finds a card. Not for a process that forks later and uses the card then."""
    try:
        return ctypes.CDLL("libcuda.so.1").cuInit(0) == 0  # type: ignore[no-any-return]
    except OSError:
        return False


def _is_container(root: Path) -> bool:
    """Docker and Podman leave a file. Pods of containerd and CRI-O have none, but every pod has the variable."""
    return "KUBERNETES_SERVICE_HOST" in os.environ or any((root / mark).exists() for mark in _CONTAINER_MARKS)


def _is_card(device: Path) -> bool:
    try:
        vendor, kind = ((device / name).read_text(encoding="ascii").strip() for name in ("vendor", "class"))
    except (OSError, ValueError):
        return False
    return vendor == _NVIDIA and kind.startswith(_DISPLAY)
