"""The way of a message through real workers, whatever happens to them."""

import io
import os
import signal
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TypeAlias

import pytest
import torch
from celery import Celery
from PIL import Image
from pydantic import SecretStr
from safetensors.torch import load

from tests.support.deployment import Deployment, eventually
from triage.domain.ids import new_id
from triage.domain.runs import Run
from triage.domain.states import RunKind, RunStatus
from triage.storage import model_versions as models
from triage.storage import runs
from triage.storage.locks import try_lock
from triage.training.run import device_lock
from worker.services import Services
from worker.settings import RedisSettings, Settings

Deploy: TypeAlias = Callable[..., AbstractContextManager[Deployment]]

PATIENT = "Erika-Mustermann"


def test_message_becomes_verdicts_a_decision_and_a_request(deploy: Deploy, jpeg: Callable[..., bytes]) -> None:
    with deploy("scoring") as clinic:
        clinic.send("m-1", jpeg(1), jpeg(2))

        assert eventually(lambda: clinic.outcome("m-1")) == "retake"

        verdicts = clinic.query("SELECT score, grade, acceptable, cumulative, patch_scores, origin FROM verdict")
        assert [verdict.origin for verdict in verdicts] == ["inbox", "inbox"]
        for verdict in verdicts:
            assert verdict.cumulative == sorted(verdict.cumulative, reverse=True)
            assert verdict.score == verdict.cumulative[1]
            assert verdict.score == pytest.approx(sum(verdict.patch_scores) / 5, abs=1e-6)
        assert clinic.query("SELECT status FROM retake_request") == [("flagged",)]


def test_any_celery_app_can_submit_a_message(
    deploy: Deploy, settings: Settings, jpeg: Callable[..., bytes], tmp_path: Path
) -> None:
    incoming = tmp_path / "incoming"
    incoming.mkdir()
    (incoming / "1.jpg").write_bytes(jpeg(1))
    url = f"redis+socket://{settings.embedded.redis_socket}"
    foreign = Celery("message-system", broker=url, backend=url, set_as_current=False)
    foreign.conf.broker_transport_options = {"global_keyprefix": settings.redis.key_prefix}
    foreign.conf.result_backend_transport_options = {"global_keyprefix": settings.redis.key_prefix}
    message = {
        "source": "ehr",
        "message_id": "m-1",
        "attachments": [{"uri": (incoming / "1.jpg").as_uri(), "id": "a-1"}, {"uri": "file:///etc/passwd"}],
    }
    with deploy("scoring", "intake") as clinic:
        first = foreign.send_task("inbox.submit", [message], queue="intake").get(timeout=60)
        again = foreign.send_task("inbox.submit", [message], queue="intake").get(timeout=60)
        malformed = foreign.send_task("inbox.submit", [{"source": PATIENT}], queue="intake").get(timeout=60)

        assert first["message_id"] == "m-1"
        assert first["created"]
        assert not again["created"]
        assert [item["id"] for item in again["attachments"]] == [item["id"] for item in first["attachments"]]
        assert malformed["error"]["code"] == "invalid"
        assert PATIENT not in malformed["error"]["message"]
        assert eventually(lambda: clinic.outcome("m-1")) == "uncertain"
        codes = clinic.query("SELECT status, error_code FROM attachment ORDER BY status")
        assert codes == [("not_assessable", "uri_not_allowed"), ("scored", None)]
    foreign.pool.force_close_all()
    foreign.backend.client.close()


def test_every_photo_gets_one_verdict_when_the_scoring_process_is_killed(
    deploy: Deploy, jpeg: Callable[..., bytes]
) -> None:
    with deploy("scoring", "intake", lease_seconds=5) as clinic:
        clinic.send("m-1", *(jpeg(seed) for seed in range(6)))
        eventually(lambda: clinic.query("SELECT 1 FROM attachment WHERE status = 'in_progress'"))
        child = clinic.child("scoring")
        assert child is not None

        os.kill(child.pid, signal.SIGKILL)

        assert eventually(lambda: clinic.outcome("m-1")) == "retake"
        assert clinic.query("SELECT count(*), count(DISTINCT attachment_id) FROM verdict") == [(6, 6)]
        assert clinic.query("SELECT max(attempts) FROM attachment") == [(2,)]


def test_sweeper_finds_a_message_that_came_while_redis_was_down(
    deploy: Deploy, settings: Settings, jpeg: Callable[..., bytes]
) -> None:
    nowhere = RedisSettings(url=SecretStr("redis://127.0.0.1:1/0"), socket_timeout_seconds=1)
    without_redis = Services(settings.model_copy(update={"redis": nowhere}))
    try:
        with deploy("scoring", "intake") as clinic:
            clinic.services = without_redis

            clinic.send("m-1", jpeg(1))

            assert eventually(lambda: clinic.outcome("m-1")) == "retake"
    finally:
        without_redis.close()


@pytest.fixture
def start_training(model_folder: Path, jpeg: Callable[..., bytes], tmp_path: Path) -> Callable[..., Run]:
    """Queues a training of the narrow network on six photos."""
    manifest = tmp_path / "manifest.csv"
    votes = [0, 4, 3, 1, 0, 4]
    for seed in range(len(votes)):
        (tmp_path / f"{seed}.jpg").write_bytes(jpeg(seed))
    splits = ["train"] * 4 + ["validation"] * 2
    rows = [f"{seed}.jpg,{vote},{split}" for seed, (vote, split) in enumerate(zip(votes, splits, strict=True))]

    def start(clinic: Deployment, name: str, *, epochs: int, rewrite: bool = True) -> Run:
        if rewrite:
            manifest.write_text("\n".join(["path,votes,split", *rows]), encoding="utf-8")
        config = {"epochs": epochs, "patience": epochs, "batch_photos": 2, "frozen_convolutions": 4}
        parameters = {"manifest": str(manifest), "name": name, "init": str(model_folder), "config": config}
        with clinic.services.sessions.begin() as session:
            run, _ = runs.start(session, RunKind.TRAINING, parameters)
        clinic.services.wake_ups.training()
        return run

    return start


def _find(clinic: Deployment, run: Run) -> Run:
    with clinic.services.sessions() as session:
        return runs.find(session, run.id)


def _ended(clinic: Deployment, run: Run) -> str | None:
    found = _find(clinic, run)
    return found.error or (found.status.value if found.finished_at else None)


def _epochs_of(clinic: Deployment, run: Run) -> int:
    epochs = _find(clinic, run).progress.get("epochs", [])
    assert isinstance(epochs, list)
    return len(epochs)


def test_training_run_becomes_a_candidate_while_photos_are_scored(
    deploy: Deploy, start_training: Callable[..., Run], jpeg: Callable[..., bytes], tmp_path: Path
) -> None:
    with deploy("scoring", "training") as clinic:
        run = start_training(clinic, "of-this-clinic", epochs=1)
        clinic.send("m-1", jpeg(9))

        assert eventually(lambda: clinic.outcome("m-1")) == "retake"
        assert eventually(lambda: _ended(clinic, run)) == "done"
        assert clinic.query("SELECT name, stage FROM model_version ORDER BY id") == [
            ("strict", "live"),
            ("of-this-clinic", "candidate"),
        ]
        # photos and checkpoint are deleted soon after the end
        assert eventually(lambda: not list((tmp_path / "runs").iterdir()))


def test_killed_training_ends_with_the_weights_of_an_undisturbed_one(
    deploy: Deploy, start_training: Callable[..., Run]
) -> None:
    with deploy("training", "intake", TRAINING__THREADS="1") as clinic:
        undisturbed = start_training(clinic, "undisturbed", epochs=60)
        assert eventually(lambda: _ended(clinic, undisturbed)) == "done"

        run = start_training(clinic, "killed", epochs=60)
        eventually(lambda: 1 <= _epochs_of(clinic, run) < 60)
        child = clinic.child("training")
        assert child is not None
        os.kill(child.pid, signal.SIGKILL)

        assert eventually(lambda: _ended(clinic, run)) == "done"
        second_child = clinic.child("training")
        assert second_child is not None
        assert second_child.pid != child.pid
        with clinic.services.sessions() as session:
            cards = [models.find(session, name).card for name in ("undisturbed", "killed")]
        first, second = (load(clinic.services.registry.weights(card)) for card in cards)
        assert all(torch.equal(first[name], second[name]) for name in first)
        assert cards[0].threshold == cards[1].threshold


def test_cancelled_training_stops_and_leaves_no_files(
    deploy: Deploy, start_training: Callable[..., Run], tmp_path: Path
) -> None:
    with deploy("training") as clinic:
        run = start_training(clinic, "cancelled", epochs=100_000)
        eventually(lambda: _epochs_of(clinic, run))
        with clinic.services.sessions.begin() as session:
            assert runs.cancel(session, run.id)

        assert eventually(lambda: not list((tmp_path / "runs").iterdir()))
        assert _find(clinic, run).status is RunStatus.CANCELLED
        assert clinic.query("SELECT name FROM model_version") == [("strict",)]
        following = start_training(clinic, "following", epochs=1)
        assert eventually(lambda: _ended(clinic, following)) == "done"


def test_invalid_run_fails_with_one_line_and_leaves_no_files(
    deploy: Deploy, start_training: Callable[..., Run], tmp_path: Path
) -> None:
    left = tmp_path / "runs" / str(new_id())  # of a run that ended while its worker was dead
    left.mkdir(parents=True)
    (left / "train.photos").write_bytes(b"a photo")
    with deploy("training") as clinic:
        misnamed = start_training(clinic, "not a name", epochs=1)
        assert "invalid training parameters: name" in str(eventually(lambda: _ended(clinic, misnamed)))
        (tmp_path / "manifest.csv").write_text(f"path,votes\n{PATIENT}.jpg,1\n", encoding="utf-8")
        broken = start_training(clinic, "broken", epochs=1, rewrite=False)
        error = str(eventually(lambda: _ended(clinic, broken)))

        assert "the manifest is invalid" in error
        assert PATIENT not in error
        assert _find(clinic, broken).status is RunStatus.FAILED
        assert eventually(lambda: not list((tmp_path / "runs").iterdir()))


def test_runs_wait_while_another_process_trains_on_the_device(
    deploy: Deploy, start_training: Callable[..., Run]
) -> None:
    with deploy("training", "intake") as clinic:
        with try_lock(clinic.services.engine, device_lock(torch.device("cpu"))) as lock:
            assert lock is not None
            run = start_training(clinic, "second", epochs=1)
            assert eventually(lambda: b"training.postponed" in clinic.log("training").read_bytes())
            assert _find(clinic, run).status is RunStatus.PENDING

        assert eventually(lambda: _ended(clinic, run)) == "done"


def test_patient_data_reaches_neither_logs_nor_redis(
    deploy: Deploy, services: Services, jpeg: Callable[..., bytes], tmp_path: Path
) -> None:
    incoming = tmp_path / "incoming"
    incoming.mkdir()
    for name, data in ((f"{PATIENT}.jpg", _with_comment(jpeg(1))), (f"{PATIENT}-broken.jpg", jpeg(2)[:300])):
        (incoming / name).write_bytes(data)
    uris = [path.as_uri() for path in incoming.iterdir()] + [f"file:///elsewhere/{PATIENT}.jpg"]
    message = {"source": "ehr", "message_id": "m-1", "attachments": [{"uri": uri} for uri in uris]}
    with deploy("scoring", "intake") as clinic:
        services.celery.send_task("inbox.submit", [message]).get(timeout=60)
        services.celery.send_task("inbox.submit", [message | {"locale": PATIENT + "!"}]).get(timeout=60)
        assert eventually(lambda: clinic.outcome("m-1")) == "uncertain"
        assert eventually(lambda: b"inbox.drained" in clinic.log("scoring").read_bytes())  # said after the decision
        logs = b"".join(clinic.log(kind).read_bytes() for kind in clinic.workers)
        redis = services.redis
        dump = b"".join(key + (redis.dump(key) or b"") for key in redis.scan_iter("*"))

    assert b"inbox.drained" in logs
    assert b"celery-task-meta" in dump
    assert PATIENT.encode() not in logs
    assert PATIENT.encode() not in dump


def _with_comment(jpeg: bytes) -> bytes:
    """The photo with a name in its EXIF image description and in a JPEG comment."""
    image = Image.open(io.BytesIO(jpeg))
    exif = image.getexif()
    exif[0x010E] = PATIENT
    file = io.BytesIO()
    image.save(file, "JPEG", exif=exif, comment=PATIENT)
    return file.getvalue()
