"""Volumes that go away while photos wait: nothing is parked, no attempt is used up, and all is scored afterwards."""

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from tests.support.deployment import Deployment, eventually
from triage.domain.messages import IncomingAttachment, IncomingMessage

pytestmark = pytest.mark.long

Deploy: TypeAlias = Callable[..., AbstractContextManager[Deployment]]


def _refusals(deployment: Deployment, start: int = 0) -> list[dict[str, Any]]:
    """The lines of the scoring worker, from an offset on, that tell of a wrong store."""
    lines = deployment.log("scoring").read_text()[start:].splitlines()
    parsed = [json.loads(line) for line in lines if line.startswith("{")]
    return [each for each in parsed if each.get("error_type") == "WrongBlobStoreError"]


def _states(deployment: Deployment) -> list[tuple[Any, ...]]:
    rows = deployment.query("SELECT DISTINCT status, attempts, lost_leases, storage_faults FROM attachment")
    return [tuple(row) for row in rows]


@pytest.mark.parametrize("mount_point_is_left", [True, False])
def test_photos_wait_without_attempts_when_the_volume_of_the_blobs_is_away(
    deploy: Deploy, jpeg: Callable[..., bytes], mount_point_is_left: bool
) -> None:
    with deploy("scoring", "intake", SCORER__PHOTOS_PER_BATCH="2") as deployment:
        deployment.send("m-first", jpeg(1))
        eventually(lambda: deployment.outcome("m-first"))
        deployment.stop()
        for number in range(5):
            deployment.send(f"m-{number}", jpeg(number + 2), jpeg(number + 20))
        folder = Path(deployment.services.settings.blobs_url)
        away = folder.rename(folder.with_name("away"))
        if mount_point_is_left:
            folder.mkdir()
        start = len(deployment.log("scoring").read_text())
        deployment.start("scoring", "intake")
        eventually(lambda: len(_refusals(deployment, start)) >= 3)

        pending = "SELECT DISTINCT status, attempts, storage_faults FROM attachment WHERE finished_at IS NULL"
        assert [tuple(row) for row in deployment.query(pending)] == [("pending", 0, 0)]
        assert not folder.exists() or not list(folder.iterdir())

        if mount_point_is_left:
            folder.rmdir()
        away.rename(folder)

        eventually(lambda: all(deployment.outcome(f"m-{number}") for number in range(5)))
        assert _states(deployment) == [("scored", 1, 0, 0)]


def test_volume_that_goes_away_during_the_work_costs_no_attempt(deploy: Deploy, jpeg: Callable[..., bytes]) -> None:
    with deploy("scoring", "intake", SCORER__PHOTOS_PER_BATCH="1") as deployment:
        folder = Path(deployment.services.settings.blobs_url)
        for number in range(40):
            deployment.send(f"m-{number}", jpeg(number))
        eventually(lambda: deployment.query("SELECT 1 FROM verdict"))
        away = folder.rename(folder.with_name("away"))
        eventually(lambda: _refusals(deployment))

        waiting = deployment.query("SELECT DISTINCT attempts FROM attachment WHERE status = 'pending'")
        assert [tuple(row) for row in waiting] == [(0,)]
        away.rename(folder)

        eventually(lambda: deployment.query("SELECT 1 FROM verdict HAVING count(*) = 40"))
        assert _states(deployment) == [("scored", 1, 0, 0)]


def test_lost_blob_and_unmounted_share_delay_only_their_photos(deploy: Deploy, jpeg: Callable[..., bytes]) -> None:
    with deploy() as deployment:
        blobs, share = Path(deployment.services.settings.blobs_url), deployment.folder / "incoming"
        uri = (share / "a.jpg").as_uri()
        deployment.services.intake.enqueue([IncomingMessage("ehr", "m-share", [IncomingAttachment(uri=uri)])])
        deployment.send("m-lost", jpeg(1))
        [(sha256,)] = deployment.query("SELECT sha256 FROM attachment WHERE sha256 IS NOT NULL")
        deployment.send("m-well", jpeg(2))
        lost = blobs / sha256[:2] / sha256
        lost.rename(deployment.folder / "lost")
        deployment.start("scoring", "intake")

        faults = "SELECT 1 FROM attachment WHERE status = 'pending' AND attempts = 0 AND storage_faults >= 2"
        eventually(lambda: len(deployment.query(faults)) == 2)
        eventually(lambda: deployment.outcome("m-well"))
        (deployment.folder / "lost").rename(lost)
        share.mkdir()
        (share / "a.jpg").write_bytes(jpeg(3))

        eventually(lambda: deployment.outcome("m-share") and deployment.outcome("m-lost"))
        assert deployment.query("SELECT DISTINCT status, attempts FROM attachment") == [("scored", 1)]
