"""Works off what is due, batch by batch: claim and attempt outside of any transaction, then record under the lease."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

from triage.deliveries.rules import DeliveryRules
from triage.storage.database import persist

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Worked(Generic[Result]):
    """
    Attributes:
        results: of all attempts.
        stale: attempts whose lease had ended, so that another process may have made them too.
        unfinished: the time was up before everything due was attempted.
    """

    results: list[Result]
    stale: int
    unfinished: bool


def work_off(
    rules: DeliveryRules,
    attempt: Callable[[ThreadPoolExecutor], list[Result]],
    record: Callable[[list[Result]], int],
    *,
    goes_on: Callable[[Result], bool],
    seconds: float,
    on_progress: Callable[[], None],
) -> Worked[Result]:
    """Attempts what is due, until nothing is, the time is up, or no result of a batch goes on.

    Args:
        rules: how many are attempted at the same time, and their lease.
        attempt: claims a batch and attempts it in the pool.
        record: stores the results of a batch in a transaction; returns the number of those whose lease still held.
        goes_on: whether, after this result, another batch is worth an attempt.
        seconds: time limit for the start of a batch.
        on_progress: called after each batch.

    Raises:
        DatabaseUnavailableError: Postgres is unavailable. What was attempted and not recorded is attempted again.
    """
    deadline = time.monotonic() + seconds
    results: list[Result] = []
    stale = 0

    with ThreadPoolExecutor(rules.at_once, thread_name_prefix="attempts") as pool:
        while time.monotonic() < deadline:
            batch = attempt(pool)
            if not batch:
                return Worked(results, stale, unfinished=False)
            stale += len(batch) - persist(partial(record, batch), patience_seconds=rules.lease.total_seconds() / 2)
            results += batch
            on_progress()
            if not any(goes_on(each) for each in batch):
                return Worked(results, stale, unfinished=False)
    return Worked(results, stale, unfinished=True)
