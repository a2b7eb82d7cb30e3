"""Loads a model into the engine that the settings select. Imports torch."""

import math
from pathlib import Path
from typing import Final

import structlog
import torch

from triage.domain.card import Card
from triage.model.engines.choose import choose_device, choose_engine
from triage.model.engines.engine import Engine, EngineUnavailableError
from triage.model.weights import load_network
from worker.settings import Settings

log = structlog.get_logger(__name__)

_CPU_MAX: Final = Path("/sys/fs/cgroup/cpu.max")


def load_engine(settings: Settings, card: Card, weights: bytes) -> Engine:
    """Loads a model for scoring. Also sets torch's number of threads from the settings or the container's CPU limit.

    Raises:
        ModelError: the weights do not match the card.
        UsageError: the engine does not support the device.
    """
    scorer = settings.scorer
    device = choose_device(scorer.device, scorer.engine)
    torch.set_num_threads(scorer.threads or max(1, int(min(torch.get_num_threads(), cpu_limit()))))
    return choose_engine(
        load_network(card, weights),
        engine=scorer.engine,
        device=device,
        cache=settings.cache_folder,
        on_unavailable=_report_unavailable,
    )


def cpu_limit(cpu_max: Path = _CPU_MAX) -> float:
    """Returns the CPU limit of the container, infinity if there is none. torch only sees the cores of the machine."""
    try:
        quota, period = cpu_max.read_text(encoding="ascii").split()
        return int(quota) / int(period)
    except (OSError, ValueError):  # no cgroup v2, or the quota "max"
        return math.inf


def _report_unavailable(error: EngineUnavailableError) -> None:
    cause = type(error.__cause__ or error).__name__
    log.warning("engine.unavailable", kind=error.engine, status=error.reason, error_type=cause)
