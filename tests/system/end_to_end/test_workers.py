"""Messages through real workers: their results, and faults on the way."""

import io
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from PIL import Image
from pydantic import SecretStr

from tests.support.deployment import Deployment, eventually
from worker.services import Services
from worker.settings import RedisSettings

pytestmark = pytest.mark.long

PATIENT = "Erika-Mustermann"


@pytest.fixture(scope="module")
def incoming(shared_deployment: Deployment) -> Path:
    """The folder whose photos senders may name."""
    folder = shared_deployment.folder / "incoming"
    folder.mkdir()
    return folder


def test_message_becomes_verdicts_a_decision_and_a_request(
    shared_deployment: Deployment, jpeg: Callable[..., bytes]
) -> None:
    shared_deployment.send("m-verdicts", jpeg(1), jpeg(2))

    assert eventually(lambda: shared_deployment.outcome("m-verdicts")) == "retake"

    verdicts = shared_deployment.query(
        "SELECT v.score, v.grade, v.acceptable, v.cumulative, v.patch_scores, v.origin FROM verdict v "
        "JOIN attachment a ON a.id = v.attachment_id JOIN message m ON m.id = a.message_id "
        "WHERE m.external_id = 'm-verdicts'"
    )
    assert [verdict.origin for verdict in verdicts] == ["inbox", "inbox"]
    for verdict in verdicts:
        assert verdict.cumulative == sorted(verdict.cumulative, reverse=True)
        assert verdict.score == verdict.cumulative[1]
        assert verdict.score == pytest.approx(sum(verdict.patch_scores) / 5, abs=1e-6)
    requests = shared_deployment.query(
        "SELECT r.status FROM retake_request r JOIN message m ON m.id = r.message_id WHERE m.external_id = 'm-verdicts'"
    )
    assert requests == [("flagged",)]


def test_any_celery_app_can_submit_a_message(
    shared_deployment: Deployment, incoming: Path, jpeg: Callable[..., bytes]
) -> None:
    settings = shared_deployment.services.settings
    (incoming / "1.jpg").write_bytes(jpeg(1))
    url = f"redis+socket://{settings.embedded.redis_socket}"
    foreign = Celery("message-system", broker=url, backend=url, set_as_current=False)
    foreign.conf.broker_transport_options = {"global_keyprefix": settings.redis.key_prefix}
    foreign.conf.result_backend_transport_options = {"global_keyprefix": settings.redis.key_prefix}
    message: dict[str, Any] = {
        "source": "ehr",
        "message_id": "m-foreign",
        "attachments": [{"uri": (incoming / "1.jpg").as_uri(), "id": "a-1"}, {"uri": "file:///etc/passwd"}],
    }

    first = foreign.send_task("inbox.submit", [message], queue="intake").get(timeout=60)
    again = foreign.send_task("inbox.submit", [message], queue="intake").get(timeout=60)
    malformed = foreign.send_task("inbox.submit", [{"source": PATIENT}], queue="intake").get(timeout=60)

    other = message | {"attachments": [{"uri": (incoming / "2.jpg").as_uri(), "id": "a-1"}], "locale": "de"}
    conflict = foreign.send_task("inbox.submit", [other], queue="intake").get(timeout=60)
    two = message | {"message_id": "m-two", "attachments": [*message["attachments"], *other["attachments"]]}
    doubled = foreign.send_task("inbox.submit", [two], queue="intake").get(timeout=60)
    hostile = message | {"message_id": f"{PATIENT}\x1b\u202e"}
    refused = foreign.send_task("inbox.submit", [hostile], queue="intake").get(timeout=60)

    assert first["message_id"] == "m-foreign"
    assert [item["conflict"] for item in first["attachments"]] == [False, False]
    assert (conflict["created"], conflict["unchanged"]) == (False, ["locale"])
    assert [item["conflict"] for item in conflict["attachments"]] == [True]
    assert doubled["error"] == {
        "code": "invalid",
        "message": "two photos have the attachment id 'a-1': give each photo an id",
    }
    assert refused["error"]["code"] == "invalid"
    assert "invalid message id" in refused["error"]["message"]
    assert PATIENT not in refused["error"]["message"]
    assert first["created"]
    assert not again["created"]
    assert [item["id"] for item in again["attachments"]] == [item["id"] for item in first["attachments"]]
    assert malformed["error"]["code"] == "invalid"
    assert PATIENT not in malformed["error"]["message"]
    assert eventually(lambda: shared_deployment.outcome("m-foreign")) == "uncertain"
    codes = shared_deployment.query(
        "SELECT a.status, a.error_code FROM attachment a JOIN message m ON m.id = a.message_id "
        "WHERE m.external_id = 'm-foreign' ORDER BY a.status"
    )
    assert codes == [("not_assessable", "uri_not_allowed"), ("scored", None)]
    foreign.pool.force_close_all()  # its options differ, so this is no pool of the product
    foreign.backend.client.close()


def test_sweeper_finds_a_message_that_came_while_redis_was_down(
    shared_deployment: Deployment, jpeg: Callable[..., bytes]
) -> None:
    nowhere = RedisSettings(url=SecretStr("redis://127.0.0.1:1/0"), socket_timeout_seconds=1)
    settings = shared_deployment.services.settings.model_copy(update={"redis": nowhere})
    with Services(settings) as without_redis:
        replace(shared_deployment, services=without_redis).send("m-swept", jpeg(1))

        assert eventually(lambda: shared_deployment.outcome("m-swept")) == "retake"


def test_every_photo_gets_one_verdict_when_the_scoring_process_is_killed(
    shared_deployment: Deployment, jpeg: Callable[..., bytes]
) -> None:
    photos = "FROM attachment a JOIN message m ON m.id = a.message_id WHERE m.external_id = 'm-killed'"
    shared_deployment.send("m-killed", *(jpeg(seed) for seed in range(6)))
    eventually(lambda: shared_deployment.query(f"SELECT 1 {photos} AND a.status = 'in_progress'"))
    child = shared_deployment.child("scoring")
    assert child is not None

    os.kill(child.pid, signal.SIGKILL)

    assert eventually(lambda: shared_deployment.outcome("m-killed")) == "retake"
    ids = f"SELECT a.id {photos}"
    verdicts = f"SELECT count(*), count(DISTINCT attachment_id) FROM verdict WHERE attachment_id IN ({ids})"
    assert shared_deployment.query(verdicts) == [(6, 6)]
    assert shared_deployment.query(f"SELECT max(a.attempts), max(a.lost_leases) {photos}") == [(1, 1)]


def test_patient_data_reaches_neither_logs_nor_redis(
    shared_deployment: Deployment, incoming: Path, jpeg: Callable[..., bytes]
) -> None:
    for name, data in ((f"{PATIENT}.jpg", _with_comment(jpeg(1))), (f"{PATIENT}-broken.jpg", jpeg(2)[:300])):
        (incoming / name).write_bytes(data)
    uris = [path.as_uri() for path in incoming.glob(f"{PATIENT}*")] + [f"file:///elsewhere/{PATIENT}.jpg"]
    message = {"source": "ehr", "message_id": "m-named", "attachments": [{"uri": uri} for uri in uris]}
    redis = shared_deployment.services.redis

    for sent in (message, message | {"locale": PATIENT + "!"}):
        shared_deployment.services.celery.send_task("inbox.submit", [sent]).get(timeout=60)
    assert eventually(lambda: shared_deployment.outcome("m-named")) == "uncertain"
    # logged after the decision, with the reason that only this message has
    assert eventually(lambda: b'"truncated"' in shared_deployment.log("scoring").read_bytes())
    logs = b"".join(shared_deployment.log(kind).read_bytes() for kind in shared_deployment.workers)
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
