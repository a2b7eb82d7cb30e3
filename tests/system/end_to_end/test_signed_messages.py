"""Signed messages of a foreign Celery app through a Redis behind TLS: good ones run once, all others are refused."""

import base64
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from pydantic import SecretStr

from tests.support.certificates import make_certificate
from tests.support.deployment import WAIT_SECONDS, Deployment, eventually, signing_variables
from tests.support.secured_redis import PASSWORD, SecuredRedis
from worker.queues import QueueName, TaskName
from worker.services import Services
from worker.settings import RedisSettings, SigningSettings

Deploy: TypeAlias = Callable[..., AbstractContextManager[Deployment]]

PAGE = Path(__file__).parents[3] / "docs" / "integration.md"
SEPARATOR = b"\x00\x01"  # of the parts of Celery's envelope
PREFIX = "signed:"
SPOOL = "spool:"
KINDS = ("scoring", "intake", "intake-2")
DECADES_AGO = "import time\ntime.time = time.monotonic\n"
SEND = """
import sys
for message_id in sys.argv[1:]:
    attachments = [{"uri": "file:///srv/inbox/photo1.jpg"}]
    submission = {"source": "ehr", "message_id": message_id, "attachments": attachments}
    app.send_task("inbox.submit", [submission], queue="intake", ignore_result=True)
"""


@dataclass
class Wire:
    """A foreign app's signed messages as they lie in Redis, and the queues of the workers."""

    clinic: Deployment
    redis: SecuredRedis
    signing: SigningSettings

    @property
    def sender(self) -> Services:
        return self.clinic.services

    def program(
        self, *, ending: str | None = None, prefix: str = PREFIX, signing: SigningSettings | None = None
    ) -> str:
        """The program of the documentation; only addresses and files are replaced, and the submission if asked to."""
        blocks: list[str] = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
        [connecting] = [block for block in blocks if 'Celery(broker="redis:' in block]
        [securing] = [block for block in blocks if "rediss://" in block]
        [stating] = [block for block in blocks if "before_task_publish" in block]
        imports, rest = connecting.split("app = Celery", 1)
        _, _, configuring = rest.partition("\n")
        configuring, answer, submitting = configuring.partition("answer = app")
        program = imports + securing + configuring + stating + (ending or f"{answer}{submitting}\nprint(answer)")
        signing = signing or self.signing
        for old, new in {
            "rediss://:PASSWORD@redis:6379/0": self.redis.url,
            "/etc/ehr/redis-ca.pem": str(self.redis.ca_file),
            '"triage:"': repr(prefix),
            "file:///srv/inbox/photo1.jpg": f"{self.sender.settings.intake.uri_roots[0]}/1.jpg",
            "/etc/ehr/ehr.key": str(signing.key_file),
            "/etc/ehr/ehr.pem": str(signing.certificate_file),
            "/etc/ehr/trusted": str(signing.trusted_folder),
        }.items():
            assert old in program, old
            program = program.replace(old, new)
        return program

    def signed(
        self, *message_ids: str, signing: SigningSettings | None = None, before: str = ""
    ) -> dict[str, dict[str, Any]]:
        """Submissions of the foreign app that no worker has received, by their ids."""
        program = before + self.program(ending=SEND, prefix=SPOOL, signing=signing)
        _run(program, *message_ids)
        key = f"{SPOOL}{QueueName.INTAKE}"
        raw: Any = [self.sender.redis.rpop(key) for _ in message_ids]
        return dict(zip(message_ids, map(json.loads, raw), strict=True))

    def put(self, message: dict[str, Any], queue: QueueName = QueueName.INTAKE) -> None:
        self.sender.redis.lpush(f"{PREFIX}{queue}", json.dumps(message))

    def said(self) -> Counter[str]:
        """How often the workers have logged each event, and refused a message by kind."""
        lines = "".join(self.clinic.log(name).read_text(encoding="utf-8") for name in KINDS).splitlines()
        events = [json.loads(line) for line in lines if line.startswith("{")]
        return Counter(event["kind"] if event["event"] == "task.refused" else event["event"] for event in events)

    def accepted(self, message_id: str) -> bool:
        return bool(self.clinic.query("SELECT FROM message WHERE external_id = :id", id=message_id))


@pytest.fixture(scope="module")
def wire(
    deploy_for_module: Deploy,
    secured_redis: SecuredRedis,
    jpeg: Callable[..., bytes],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Wire]:
    """A scoring worker and two intake workers, for one queue, that require signatures."""
    signing = _signing(tmp_path_factory.mktemp("trusted"), "triage")
    redis = RedisSettings(url=SecretStr(secured_redis.url), ca_file=secured_redis.ca_file, key_prefix=PREFIX)
    variables = {
        "REDIS__URL": secured_redis.url,
        "REDIS__CA_FILE": str(secured_redis.ca_file),
        **signing_variables(signing),
    }
    with deploy_for_module(*KINDS, variables=variables, redis=redis, signing=signing) as clinic:
        root = Path(urlsplit(clinic.services.settings.intake.uri_roots[0]).path)
        root.mkdir(parents=True, exist_ok=True)
        (root / "1.jpg").write_bytes(jpeg(1))
        eventually(lambda: len(clinic.services.celery.control.ping(timeout=2.0)) == len(KINDS))
        yield Wire(clinic, secured_redis, signing)
        assert all(worker.poll() is None for worker in clinic.workers.values()), "a worker ended"


def _signing(folder: Path, name: str, *, trusted: Path | None = None) -> SigningSettings:
    certificate, key = make_certificate(folder, name)
    return SigningSettings(key_file=key, certificate_file=certificate, trusted_folder=trusted or folder)


def _run(program: str, *arguments: str) -> str:
    ended = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_program_of_the_documentation_gets_its_answer(wire: Wire) -> None:
    assert "'created': True" in _run(wire.program())
    assert eventually(lambda: wire.clinic.outcome("m-1001"))


def test_forged_messages_are_refused_and_good_ones_among_them_run(wire: Wire, tmp_path: Path) -> None:
    before, [(messages,)] = wire.said(), wire.clinic.query("SELECT count(*) FROM message")
    stranger = _signing(tmp_path, "stranger", trusted=wire.signing.trusted_folder)
    names = ("m-good", "m-unsigned", "m-tampered", "m-pickle", "m-utf-7", "m-other-id", "m-other-task", "m-header")
    signed = wire.signed(*names)

    wire.put(_unsigned(signed["m-unsigned"]))
    wire.put(_with_signed_part(signed["m-tampered"], 4, lambda body: body.replace(b"m-tampered", b"m-tampereD")))
    wire.put(_with_signed_part(signed["m-pickle"], 2, lambda _: b"application/x-python-serialize"))
    wire.put(_with_signed_part(signed["m-utf-7"], 3, lambda _: b"utf-7"))
    wire.put(_with_header(signed["m-other-id"], "id", str(uuid4())))
    wire.put(_with_header(signed["m-other-task"], "task", TaskName.SWEEP), QueueName.MAINTENANCE)
    wire.put(wire.signed("m-stranger", signing=stranger)["m-stranger"])
    wire.put(wire.signed("m-old", before=DECADES_AGO)["m-old"])
    # signatures do not cover these headers, which have no effect
    wire.put(_with_header(signed["m-header"], "eta", "2999-01-01T00:00:00+00:00"))
    wire.put(signed["m-good"])

    refused = {"unsigned": 1, "bad_signature": 4, "expired": 1, "forged_headers": 2}
    assert eventually(lambda: (said := wire.said() - before).keys() >= refused.keys() and said)
    for name in ("m-good", "m-header"):
        assert eventually(lambda: wire.clinic.outcome(name))  # noqa: B023
    assert eventually(lambda: sum((wire.said() - before)[kind] for kind in refused) >= 8)
    assert {kind: n for kind, n in (wire.said() - before).items() if kind in {*refused, "replayed"}} == refused
    assert wire.clinic.query("SELECT count(*) FROM message") == [(messages + 2,)]
    for name in KINDS:
        assert PASSWORD not in wire.clinic.log(name).read_text(encoding="utf-8")


def test_each_message_runs_once_when_two_workers_receive_it_again_and_again(wire: Wire) -> None:
    before, names = wire.said(), [f"m-replayed-{number}" for number in range(10)]
    signed = wire.signed(*names)
    for _ in range(3):
        for message in signed.values():
            wire.put(_with_new_tag(message))

    assert eventually(lambda: (wire.said() - before)["replayed"] >= 20)
    assert all(eventually(lambda: wire.accepted(name)) for name in names)  # noqa: B023
    assert (wire.said() - before)["replayed"] == 20  # of 30, so each of the 10 messages ran once


def test_replay_does_not_replace_the_answer(wire: Wire) -> None:
    [message] = wire.signed("m-answered").values()
    message["headers"]["ignore_result"] = False
    before = wire.said()
    for _ in range(2):
        wire.put(_with_new_tag(message))

    assert eventually(lambda: (wire.said() - before)["replayed"])
    answer = wire.sender.celery.AsyncResult(message["headers"]["id"]).get(timeout=WAIT_SECONDS)
    assert answer["created"]


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


def _unsigned(message: dict[str, Any]) -> dict[str, Any]:
    """The signed bytes without their envelope."""
    return message | {"body": base64.b64encode(_parts(message)[4]).decode(), "content-type": "application/json"}
