"""The engine that the settings ask for, with a model in it. Imports torch: only for processes that score."""

import structlog
import torch

from triage.quality.card import Card
from triage.quality.engines import Engine, EngineUnavailableError
from triage.quality.engines.choose import choose_device, choose_engine
from triage.quality.weights import load_network
from worker.settings import ScorerSettings

log = structlog.get_logger(__name__)


def load_engine(settings: ScorerSettings, card: Card, weights: bytes) -> Engine:
    """Loads a model for scoring, with as many threads as the settings give.

    Raises:
        ModelError: the weights do not fit the card.
        UsageError: the engine does not run on the device.
    """
    device = choose_device(settings.device, settings.engine)
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    return choose_engine(
        load_network(card, weights), engine=settings.engine, device=device, on_unavailable=_report_unavailable
    )


def _report_unavailable(error: EngineUnavailableError) -> None:
    cause = type(error.__cause__ or error).__name__
    log.warning("engine.unavailable", kind=error.engine, status=error.reason, error_type=cause)
