from contextlib import closing
from typing import Any
from unittest.mock import Mock

from worker.scoring import Scoring
from worker.settings import ScorerSettings, Settings


def test_another_worker_is_woken_only_when_a_batch_is_full() -> None:
    settings = Settings(scorer=ScorerSettings(device="cpu", decode_threads=1, photos_per_batch=3))
    parts: list[Any] = [Mock() for _ in ("sessions", "registry", "inbox", "source", "store", "assessments")]
    wake_another = Mock()

    with closing(Scoring(settings, *parts, wake_another=wake_another)) as scoring:
        for photos in (3, 3, 1):
            scoring._on_batch(photos)

    assert wake_another.call_count == 2
