"""How well the drain overlaps preparation and network: photos per second of both, relative to the slower one alone.

Preparation and network sleep, so a machine of few cores can stand for one of many with a GPU. The drain and its
threads are real; the inbox is in memory. By default 16 threads take 55 ms a photo, as for a JPEG of 12 megapixels, and
5 % of the photos take 13 times as long, as HEIC does.

    python -m benchmarks.overlap
"""

import argparse
import random
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from rich.console import Console
from rich.table import Table

from triage.domain.ids import AttachmentId, LeaseToken, ModelVersionId, new_id
from triage.domain.messages import Claim, ClaimedAttachment, Recorded
from triage.domain.photos import AssessedBatch, NotAssessable
from triage.errors import ErrorCode
from triage.scoring.drain import DrainLimits, drain

MODEL = ModelVersionId(new_id())
SLOW = 13


class MemoryQueue:
    """An inbox in memory. A claim and a record take as long as in Postgres."""

    def __init__(self, n_photos: int, seconds: float) -> None:
        self._photos = [ClaimedAttachment(AttachmentId(new_id()), None, None) for _ in range(n_photos)]
        self._seconds = seconds

    def claim(self, limit: int, *, retry: bool) -> Claim | None:
        time.sleep(self._seconds)
        taken, self._photos = ([], self._photos) if retry else (self._photos[:limit], self._photos[limit:])
        return Claim(LeaseToken(new_id()), taken) if taken else None

    def has_retries(self) -> bool:
        return False

    def record(self, claim: Claim, batch: AssessedBatch) -> Recorded:  # noqa: ARG002  # see `Queue.record`
        time.sleep(self._seconds)
        return Recorded(not_assessable=len(batch.assessments))

    def release(self, claim: Claim) -> int:
        return len(claim.attachments)


class SleepingAssessor:
    """Sleeps for each photo in one of the threads, and for each batch in the network."""

    def __init__(self, threads: ThreadPoolExecutor, prepare: float, slow: float, forward: float) -> None:
        self._threads, self._prepare, self._slow, self._forward = threads, prepare, slow, forward
        self._random = random.Random(0)
        self.work = 0.0

    def prepare(self, attachments: Sequence[ClaimedAttachment]) -> Callable[[], AssessedBatch]:
        seconds = [
            self._prepare * self._random.lognormvariate(0, 0.25) * (SLOW if self._random.random() < self._slow else 1)
            for _ in attachments
        ]
        self.work += sum(seconds)
        list(self._threads.map(time.sleep, seconds))
        return partial(self._score, attachments)

    def _score(self, attachments: Sequence[ClaimedAttachment]) -> AssessedBatch:
        time.sleep(self._forward * len(attachments))
        return AssessedBatch(MODEL, 0.5, [NotAssessable(item.id, ErrorCode.EMPTY) for item in attachments])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=64 * 60)
    parser.add_argument("--threads", type=int, default=16)
    parser.add_argument("--prepare-ms", type=float, default=55, help="of one photo in one thread")
    parser.add_argument("--forward-ms", type=float, nargs="+", default=[0.5, 5], help="of one photo on the GPU")
    parser.add_argument("--slow", type=float, nargs="+", default=[0, 0.05], help="share of slow photos")
    parser.add_argument("--ahead", type=int, nargs="+", default=[1, 2, 3, 4])
    arguments = parser.parse_args()
    table = Table("forward, ms", "slow photos", "batches ahead", "of the slower stage", box=None, pad_edge=False)
    for forward in arguments.forward_ms:
        for slow in arguments.slow:
            for ahead in arguments.ahead:
                share = measure(arguments.photos, arguments.threads, arguments.prepare_ms, slow, forward, ahead)
                table.add_row(f"{forward:g}", f"{slow:.0%}", str(ahead), f"{share:.2f}")
    Console().print(table)


def measure(n_photos: int, n_threads: int, prepare_ms: float, slow: float, forward_ms: float, ahead: int) -> float:
    with ThreadPoolExecutor(n_threads) as threads:
        assessor = SleepingAssessor(threads, prepare_ms / 1000, slow, forward_ms / 1000)
        drained = drain(MemoryQueue(n_photos, 0.005), lambda: assessor, DrainLimits(64, 3600, ahead))
    return max(assessor.work / n_threads, forward_ms / 1000 * n_photos) / drained.seconds


if __name__ == "__main__":
    main()
