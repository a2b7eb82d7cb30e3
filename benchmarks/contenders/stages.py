"""Cost of each stage alone, as a share of the engine's forward pass."""

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks.clinic import BAD, clinic
from benchmarks.contenders.product import PHOTOS_PER_BATCH
from triage.domain.photos import AssessedBatch, PhotoFacts, Scored
from triage.findings.rules import measure_findings
from triage.imaging.decode import Decoder
from triage.model.engines.engine import Engine, EngineName
from triage.model.patches import resize_photo

_ROUNDS = 5


def measure_stages(photos: Sequence[bytes], engines: Mapping[EngineName, Engine]) -> dict[EngineName, dict[str, float]]:
    """Median seconds of fetch, decode, resize, findings and write, relative to the forward pass of each engine."""
    seconds: dict[str, list[float]] = defaultdict(list)

    def timed(stage: str, work: Callable[..., Any], *arguments: Any) -> Any:
        started = time.perf_counter()
        result = work(*arguments)
        seconds[stage].append(time.perf_counter() - started)
        return result

    with clinic() as site, Decoder() as decoder:
        for number in range(_ROUNDS):
            site.send_bytes(photos, PHOTOS_PER_BATCH, first=number * PHOTOS_PER_BATCH)
            claim = timed("claim", lambda: site.inbox.claim(PHOTOS_PER_BATCH, retry=False))
            scored = []
            for attachment in claim.attachments:
                data = timed("fetch", site.source.fetch, attachment)
                photo = timed("decode", decoder.decode, data)
                small = timed("resize", resize_photo, photo)
                timed("findings", measure_findings, photo.upright, small.permute(1, 2, 0).numpy())
                for name, engine in engines.items():
                    timed(f"forward, {name}", engine.logits, small[None])
                width, height = photo.size
                facts = PhotoFacts(attachment.sha256, width, height, photo.media_type)
                scored.append(Scored(attachment.id, facts, BAD, acceptable=False))
            timed("write", site.inbox.record, claim, AssessedBatch(site.model, 0.5, scored))
    a_photo = {
        stage: statistics.median(times) / (PHOTOS_PER_BATCH if stage in ("claim", "write") else 1)
        for stage, times in seconds.items()
    }
    stages = ("claim", "fetch", "decode", "resize", "findings", "write")
    return {name: {stage: a_photo[stage] / a_photo[f"forward, {name}"] for stage in stages} for name in engines}
