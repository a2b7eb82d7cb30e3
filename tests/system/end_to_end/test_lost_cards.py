"""A card that is lost while real workers score: no photo is at fault, a new process scores, and a worker gives up."""

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TypeAlias

import pytest

from tests.support.deployment import WAIT_SECONDS, Deployment, eventually
from worker.broker.losses import MOST_LOSSES

pytestmark = pytest.mark.long

Deploy: TypeAlias = Callable[..., AbstractContextManager[Deployment]]

APP = "tests.support.faulty_app"
_PATIENCE = 5 * WAIT_SECONDS  # each process imports torch
PHOTOS = "SELECT status, attempts, lost_leases, error_code, count(*) FROM attachment GROUP BY 1, 2, 3, 4"


def test_new_process_scores_when_the_card_is_lost(deploy: Deploy, jpeg: Callable[..., bytes], tmp_path: Path) -> None:
    lives = tmp_path / "lives"
    lives.write_text("1 2", encoding="ascii")
    with deploy("intake", TEST_FAULT="card", TEST_LIVES=str(lives), SCORER__PHOTOS_PER_BATCH="4") as clinic:
        for message in range(3):
            clinic.send(f"m-{message}", *(jpeg(10 * message + seed) for seed in range(8)))

        clinic.start("scoring", app=APP)

        eventually(lambda: all(clinic.outcome(f"m-{message}") for message in range(3)), wait_seconds=_PATIENCE)
        assert clinic.query(PHOTOS) == [("scored", 1, 0, None, 24)]  # one attempt each: the one that succeeded
        assert clinic.workers["scoring"].poll() is None
        events = _events(clinic)
        assert events.count("device.lost") == 1
        assert events.count("model.loaded") == 2  # by the second child too
        assert "device.abandoned" not in events


def test_worker_stops_when_its_processes_lose_the_card_again_and_again(
    deploy: Deploy, jpeg: Callable[..., bytes], tmp_path: Path
) -> None:
    lives = tmp_path / "lives"
    lives.write_text("1000 0", encoding="ascii")
    with deploy("intake", TEST_FAULT="card", TEST_LIVES=str(lives), INBOX__MAX_ATTEMPTS="1") as clinic:
        clinic.send("m-1", *(jpeg(seed) for seed in range(16)))

        clinic.start("scoring", app=APP)

        assert clinic.workers["scoring"].wait(_PATIENCE) not in (0, None)
        assert clinic.query(PHOTOS) == [("pending", 0, 0, None, 16)]
        events = _events(clinic)
        assert events.count("device.lost") >= MOST_LOSSES
        assert events.count("device.abandoned") == 1
        assert "Traceback" not in clinic.log("scoring").read_text(encoding="utf-8")


def _events(clinic: Deployment) -> list[str]:
    lines = clinic.log("scoring").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["event"] for line in lines if line.startswith("{")]
