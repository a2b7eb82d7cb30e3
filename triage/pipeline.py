"""The drain: claim, assess, record, until the inbox is empty or the time is up.

After each batch of photos never tried, one photo that failed before goes alone: if it was the one that killed the
process, it takes no other photo with it again, and its attempts run out by themselves.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from triage.domain import Recorded
from triage.errors import ModelError
from triage.ports import Assessor, Background, Inbox


@dataclass(frozen=True, slots=True)
class DrainLimits:
    """
    Attributes:
        photos_per_batch: claimed, scored and recorded together.
        seconds: after which no further batch is begun, so that a worker can be stopped and its wake-ups stay fair.
    """

    photos_per_batch: int = 32
    seconds: float = 20.0


@dataclass(frozen=True, slots=True)
class Drained:
    """What a drain did.

    Attributes:
        batches: how many were claimed and recorded.
        recorded: what they wrote.
        seconds: how long they took; `network_seconds` of it inside the network.
        unfinished: the time was up, with work perhaps left.
    """

    batches: int = 0
    recorded: Recorded = field(default_factory=Recorded)
    seconds: float = 0.0
    network_seconds: float = 0.0
    unfinished: bool = False


def drain(
    inbox: Inbox,
    live_assessor: Callable[[], Assessor],
    limits: DrainLimits,
    *,
    background: Background | None = None,
    on_full_batch: Callable[[], object] = lambda: None,
) -> Drained:
    """Works off the inbox, then background work; the inbox is looked at again after every batch.

    Args:
        live_assessor: gives the assessor of the live model; asked before each claim, so that a promotion is noticed
            between batches and nothing is claimed while no model can score it.
        on_full_batch: called when a claim came back full, so that a further worker can be woken for the rest.

    Raises:
        ModelError: there is no live model, or it cannot be loaded. Nothing stays claimed.
    """
    started = time.monotonic()
    batches, recorded, network_seconds = 0, Recorded(), 0.0
    unfinished = True
    while time.monotonic() - started < limits.seconds:
        worked = False
        for retry in (False, True):
            assessor = live_assessor()
            claim = inbox.claim(1 if retry else limits.photos_per_batch, retry=retry)
            if claim is None:
                continue
            if len(claim.attachments) == limits.photos_per_batch:
                on_full_batch()
            try:
                batch = assessor.assess(claim.attachments)
            except ModelError:
                inbox.release(claim)
                raise
            recorded += inbox.record(claim, batch)
            network_seconds += batch.network_seconds
            batches, worked = batches + 1, True
        if not worked and not (background is not None and background.step()):
            unfinished = False
            break
    return Drained(batches, recorded, time.monotonic() - started, network_seconds, unfinished)
