"""Loads a model into the engine that the settings select. Imports torch."""

from functools import partial

import structlog
import torch

from triage.domain.card import Card
from triage.model.cards import has_card
from triage.model.engines.audited import Comparison
from triage.model.engines.choose import choose_device, choose_engine
from triage.model.engines.engine import Engine, EngineUnavailableError
from triage.model.weights import load_network
from worker.cores import cpu_limit
from worker.metrics import ENGINE_UNAVAILABLE, LOGIT_ERROR, SCORED_TWICE
from worker.settings import Settings

log = structlog.get_logger(__name__)


def load_engine(settings: Settings, card: Card, weights: bytes) -> Engine:
    """Loads a model for scoring. Also sets torch's number of threads from the settings or the container's CPU limit.

    Only the thread that loads an engine on a GPU may use it.

    Raises:
        ModelError: the weights do not match the card, or the GPU that the settings name cannot run the network.
        DeviceError: the GPU cannot run the network now.
        UsageError: the engine does not support the device.
    """
    scorer = settings.scorer
    device = choose_device(scorer.device, scorer.engine)
    if device.type == "cpu" and scorer.device == "auto" and scorer.engine != "mnn" and has_card():
        _report_unavailable(EngineUnavailableError("cuda", "no_driver"))
    torch.set_num_threads(scorer.threads or default_threads())
    return choose_engine(
        load_network(card, weights),
        engine=scorer.engine,
        device=device,
        is_replaceable=scorer.device == "auto" and scorer.engine != "cuda",
        cache=settings.cache_folder,
        on_unavailable=_report_unavailable,
        on_compared=partial(_report_comparison, card.name),
    )


def default_threads() -> int:
    """The CPU threads of torch: its own choice, limited to the container's CPUs."""
    return max(1, int(min(torch.get_num_threads(), cpu_limit())))


def _report_unavailable(error: EngineUnavailableError) -> None:
    cause = type(error.__cause__ or error).__name__
    ENGINE_UNAVAILABLE.labels(error.engine, error.reason).set(1)
    log.warning("engine.unavailable", kind=error.engine, status=error.reason, error_type=cause)


def _report_comparison(model: str, comparison: Comparison) -> None:
    SCORED_TWICE.labels(model).inc(comparison.photos)
    LOGIT_ERROR.labels(model).set(comparison.largest_error)
    if not comparison.is_within:
        _report_unavailable(EngineUnavailableError(comparison.engine, "inexact"))
