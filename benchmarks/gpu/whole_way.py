"""Files to verdicts by the product's drain, over a queue in memory, against the slower of its two halves."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import cast
from uuid import uuid4

from benchmarks.gpu.queue import MemoryQueue
from benchmarks.gpu.run import Result, Row, Run
from triage.blobs.source import PhotoSource
from triage.domain.ids import ModelVersionId
from triage.imaging.decode import Decoder
from triage.model.engines.choose import choose_engine
from triage.model.engines.engine import Engine
from triage.model.preparation import prepare_photo
from triage.model.scorer import Scorer
from triage.scoring.assessor import PhotoAssessor, ScoringModel
from triage.scoring.drain import DrainLimits, drain


def measure(run: Run) -> Result:
    engine = choose_engine(run.network(), device=run.device, engine="auto" if run.is_card else "torch")
    return {"engine": engine.name, "whole way": list(_shares_of_heic(run, engine))}


def _shares_of_heic(run: Run, engine: Engine) -> Iterator[Row]:
    for percent in (0, 5):
        files = [*run.jpegs] * (20 // len(run.jpegs) + 1)
        files = files[:20] if percent == 0 else [*files[:19], run.heics[0]]
        for ahead in (1, 4):
            if run.has_time():
                yield {"HEIC, %": percent, "batches ahead": ahead, **_drained(run, engine, files, ahead)}


def _drained(run: Run, engine: Engine, files: list[bytes], ahead: int) -> Row:
    n_photos, batch = (8, 2) if run.small else (64 * run.cores, 64 if run.is_card else 4)
    card = run.card()
    queue = MemoryQueue(n_photos, files)
    model = ScoringModel(ModelVersionId(uuid4()), card.threshold, Scorer.of(card, engine))
    with Decoder(processes=run.cores) as decoder, ThreadPoolExecutor(run.cores) as threads:
        list(threads.map(lambda file: prepare_photo(file, decoder), files))  # starts the processes
        assessor = PhotoAssessor(model, source=cast("PhotoSource", queue), decoder=decoder, threads=threads)
        drained = drain(queue, lambda: assessor, DrainLimits(batch, seconds=60.0, batches_ahead=ahead))
    return {
        "photos": len(queue.scored),
        "photos/s": len(queue.scored) / drained.seconds,
        "network, share of the time": drained.network_seconds / drained.seconds,
        "attempts above one": sum(n > 1 for n in queue.attempts.values()),
    }
