"""Signed messages through a Redis behind TLS: two workers accept good ones and refuse all others."""

import base64
import json
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit
from uuid import uuid4

import pytest

from tests.support.certificates import make_certificate
from tests.support.deployment import WAIT_SECONDS, Deployment, eventually
from tests.support.secured_redis import PASSWORD, SecuredRedis, through
from worker.queues import QueueName, TaskName
from worker.services import Services
from worker.settings import Settings, SigningSettings

Deploy: TypeAlias = Callable[..., AbstractContextManager[Deployment]]

ROOT = Path(__file__).parents[3]
SEPARATOR = b"\x00\x01"  # of the parts of Celery's envelope


@dataclass
class Wire:
    """Signed messages as they lie in Redis, and the queues of the workers."""

    clinic: Deployment
    sender: Services
    spool: Services
    signing: SigningSettings

    def signed(self, message_id: str) -> dict[str, Any]:
        """A signed submission that no worker has received."""
        self.spool.celery.send_task(TaskName.SUBMIT, [self.submission(message_id)])
        key = f"{self.spool.settings.redis.key_prefix}{QueueName.INTAKE}"
        raw: Any = eventually(lambda: self.spool.redis.rpop(key))
        message: dict[str, Any] = json.loads(raw)
        return message

    def submission(self, message_id: str) -> dict[str, Any]:
        root = self.clinic.services.settings.intake.uri_roots[0]
        return {"source": "ehr", "message_id": message_id, "attachments": [{"uri": f"{root}/1.jpg"}]}

    def put(self, message: dict[str, Any], queue: QueueName = QueueName.INTAKE) -> None:
        self.sender.redis.lpush(f"{self.sender.settings.redis.key_prefix}{queue}", json.dumps(message))

    def wait_for_queue(self) -> None:
        """Waits until the intake worker has received all that was put before."""
        answer = self.sender.celery.send_task(TaskName.SUBMIT, [self.submission(f"m-{uuid4()}")])
        assert answer.get(timeout=WAIT_SECONDS)["created"]

    def refused(self) -> Counter[str]:
        """How often the workers have refused a message, by kind."""
        lines = "".join(self.clinic.log(kind).read_text(encoding="utf-8") for kind in self.clinic.workers).splitlines()
        events = [json.loads(line) for line in lines if line.startswith("{")]
        return Counter(event["kind"] for event in events if event["event"] == "task.refused")

    def accepted(self, message_id: str) -> bool:
        return bool(self.clinic.query("SELECT FROM message WHERE external_id = :id", id=message_id))


@pytest.fixture
def wire(
    deploy: Deploy, settings: Settings, secured_redis: SecuredRedis, jpeg: Callable[..., bytes], tmp_path: Path
) -> Iterator[Wire]:
    """A scoring and an intake worker that require signatures."""
    root = Path(urlsplit(settings.intake.uri_roots[0]).path)
    root.mkdir(parents=True, exist_ok=True)
    (root / "1.jpg").write_bytes(jpeg(1))
    trusted = tmp_path / "trusted"
    signing = _signing(trusted, "triage", trusted)
    variables = {
        "REDIS__URL": secured_redis.url,
        "REDIS__CA_FILE": str(secured_redis.ca_file),
        "SIGNING__KEY_FILE": str(signing.key_file),
        "SIGNING__CERTIFICATE_FILE": str(signing.certificate_file),
        "SIGNING__TRUSTED_FOLDER": str(trusted),
    }
    ours = through(settings, secured_redis, signing)
    spool = ours.model_copy(update={"redis": ours.redis.model_copy(update={"key_prefix": "spool:"})})
    with (
        deploy("scoring", "intake", **variables) as clinic,
        Services(ours) as sender,
        Services(spool) as spooling,
    ):
        yield Wire(clinic, sender, spooling, signing)


def _signing(folder: Path, name: str, trusted: Path) -> SigningSettings:
    certificate, key = make_certificate(folder, name)
    return SigningSettings(key_file=key, certificate_file=certificate, trusted_folder=trusted)


def test_signed_messages_are_processed_and_all_others_refused(
    wire: Wire, secured_redis: SecuredRedis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stranger = _signing(tmp_path / "stranger", "stranger", tmp_path / "trusted")
    with Services(through(wire.clinic.services.settings, secured_redis, stranger)) as theirs:
        theirs.celery.send_task(TaskName.SUBMIT, [wire.submission("m-stranger")], ignore_result=True)

    wire.put(wire.signed("m-good"))  # from here on, this process signs with the trusted key
    assert eventually(lambda: wire.clinic.outcome("m-good"))
    assert wire.sender.celery.control.ping(timeout=10.0, limit=1)
    assert wire.refused() == {"bad_signature": 1}

    wire.put(_resigned_by_nobody(wire.signed("m-unsigned")))
    wire.put(_with_signed_part(wire.signed("m-tampered"), 4, lambda body: body.replace(b"m-tampered", b"m-tampereD")))
    wire.put(_with_signed_part(wire.signed("m-pickle"), 2, lambda _: b"application/x-python-serialize"))
    wire.put(_with_signed_part(wire.signed("m-utf-7"), 3, lambda _: b"utf-7"))
    with monkeypatch.context() as patch:
        patch.setattr("worker.broker.signing.time.time", lambda: time.monotonic())  # decades ago
        old = wire.signed("m-old")
    wire.put(old)
    wire.put(_with_header(wire.signed("m-other-id"), "id", str(uuid4())))
    wire.put(_with_header(wire.signed("m-other-task"), "task", TaskName.SWEEP), QueueName.MAINTENANCE)
    wire.wait_for_queue()

    refused = {"unsigned": 1, "bad_signature": 4, "expired": 1, "forged_headers": 2}
    assert eventually(lambda: wire.refused().total() >= 8)  # two queues
    assert wire.refused() == refused
    assert wire.accepted("m-good")
    assert len(wire.clinic.query("SELECT FROM message")) == 2  # and the one that was waited for
    assert PASSWORD not in wire.clinic.log("intake").read_text(encoding="utf-8")


def test_signed_message_runs_once_when_it_is_replayed(wire: Wire) -> None:
    message = wire.signed("m-replayed")
    for _ in range(3):
        wire.put(_with_new_tag(message))
    assert eventually(lambda: wire.refused()["replayed"] == 2)

    assert wire.accepted("m-replayed")
    answer = wire.sender.celery.AsyncResult(message["headers"]["id"]).get(timeout=WAIT_SECONDS)
    assert answer["created"], "a replay replaced the answer"


def test_foreign_app_signs_messages_as_the_documentation_says(wire: Wire, secured_redis: SecuredRedis) -> None:
    page = (ROOT / "docs" / "integration.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    [connecting] = [block for block in blocks if "Celery(broker=" in block]
    [signing] = [block for block in blocks if "before_task_publish" in block]
    options = f"ssl_cert_reqs=required&ssl_ca_certs={secured_redis.ca_file}"
    program = connecting.replace("answer = app", signing + "\nanswer = app") + "\nprint(answer)"
    for old, new in {
        "redis://:PASSWORD@redis:6379/0": f"{secured_redis.url}?{options}",
        '"triage:"': repr(wire.sender.settings.redis.key_prefix),
        "file:///srv/inbox/photo1.jpg": f"{wire.clinic.services.settings.intake.uri_roots[0]}/1.jpg",
        "/etc/ehr/ehr.key": str(wire.signing.key_file),
        "/etc/ehr/ehr.pem": str(wire.signing.certificate_file),
        "/etc/ehr/trusted": str(wire.signing.trusted_folder),
    }.items():
        assert old in program, old
        program = program.replace(old, new)

    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert "'created': True" in ended.stdout, ended.stderr
    assert wire.accepted("m-1001")


def _with_header(message: dict[str, Any], name: str, value: object) -> dict[str, Any]:
    """The message with another header, and property where there is one of the name."""
    message["headers"][name] = value
    if name in message["properties"]:
        message["properties"][name] = value
    return message


def _with_new_tag(message: dict[str, Any]) -> dict[str, Any]:
    return message | {"properties": message["properties"] | {"delivery_tag": str(uuid4())}}


def _parts(message: dict[str, Any]) -> list[bytes]:
    """Signer, signature, content type, encoding and signed bytes."""
    return base64.b64decode(base64.b64decode(message["body"])).split(SEPARATOR, maxsplit=4)


def _with_signed_part(message: dict[str, Any], number: int, change: Callable[[bytes], bytes]) -> dict[str, Any]:
    parts = _parts(message)
    parts[number] = change(parts[number])
    envelope = base64.b64encode(SEPARATOR.join(parts))
    return message | {"body": base64.b64encode(envelope).decode()}


def _resigned_by_nobody(message: dict[str, Any]) -> dict[str, Any]:
    """The signed bytes without their envelope."""
    return message | {"body": base64.b64encode(_parts(message)[4]).decode(), "content-type": "application/json"}
