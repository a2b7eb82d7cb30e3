"""The programs of the documentation run as they are written: a foreign Celery app, commands, Python, new keys and TLS.

Only addresses, prefixes and paths are replaced.
"""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit

import pytest

from tests.support.deployment import Deployment, eventually
from tests.support.foreign import run_foreign
from tests.support.secured_redis import SecuredRedis
from worker.settings import Settings

pytestmark = pytest.mark.long

Deploy: TypeAlias = Callable[..., AbstractContextManager[Deployment]]

DOCS: Final = Path(__file__).parents[3] / "docs"
SENDER: Final = "celery[redis,auth]"


def _blocks(page: str, language: str) -> list[str]:
    text = (DOCS / page).read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def _block(page: str, language: str, part: str) -> str:
    """The one code block of a page that contains a text."""
    [block] = [block for block in _blocks(page, language) if part in block]
    return block


@dataclass
class Site:
    """Workers that require signatures, and what the documentation calls by other names."""

    clinic: Deployment
    redis: SecuredRedis
    prefix: str
    incoming: Path
    keys: Path

    def program(self, *blocks: str) -> str:
        """The program of a foreign app: it connects with TLS, signs, and runs blocks of the page."""
        connecting = _block("integration.md", "python", 'Celery(broker="redis:')
        imports, _, rest = connecting.partition("app = Celery")
        configuring = rest.partition("\n")[2].partition("answer = app")[0]
        securing = _block("integration.md", "python", "rediss://")
        signing = _block("integration.md", "python", "before_task_publish")
        program = "\n".join((imports, securing, configuring, signing, *blocks))
        for old, new in {
            "rediss://:PASSWORD@redis:6379/0": self.redis.url,
            "/etc/ehr/redis-ca.pem": str(self.redis.ca_file),
            '"triage:"': repr(self.prefix),
            "/etc/ehr": str(self.keys),
        }.items():
            assert old in program, old
            program = program.replace(old, new)
        return self.local(program)

    def local(self, text: str) -> str:
        return text.replace("file:///srv/inbox", self.incoming.as_uri())

    def foreign(self, *blocks: str) -> str:
        return run_foreign(self.program(*blocks), requirement=SENDER, folder=self.incoming)

    def shell(self, script: str) -> str:
        """Runs commands with the settings of the workers."""
        path = f"{Path(sys.executable).parent}:{self.clinic.environment['PATH']}"
        return _run(["bash", "-euc", script], self.incoming, self.clinic.environment | {"PATH": path})

    def status(self, message: str) -> list[str]:
        rows = self.clinic.query(
            "SELECT r.status FROM retake_request r JOIN message m ON m.id = message_id WHERE m.external_id = :message",
            message=message,
        )
        return [row.status for row in rows]


def _run(command: list[str], folder: Path, environment: dict[str, str] | None = None) -> str:
    ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.fixture
def site(
    deploy: Deploy, settings: Settings, secured_redis: SecuredRedis, jpeg: Callable[..., bytes], tmp_path: Path
) -> Iterator[Site]:
    """Keys and variables come from the page about security."""
    keys, incoming = tmp_path / "keys", Path(urlsplit(settings.intake.uri_roots[0]).path)
    for folder in (keys, incoming):
        folder.mkdir(parents=True, exist_ok=True)
    for number in (1, 2):
        (incoming / f"photo{number}.jpg").write_bytes(jpeg(number))
    _run(["bash", "-euc", _block("operations/security.md", "sh", "openssl req")], keys)
    lines = _block("operations/security.md", "sh", "TRIAGE_SIGNING__KEY_FILE=").split()
    variables = dict(line.removeprefix("TRIAGE_").replace("/etc/triage", str(keys)).split("=") for line in lines)
    variables |= {"REDIS__URL": secured_redis.url, "REDIS__CA_FILE": str(secured_redis.ca_file)}
    with deploy("scoring", "intake", **variables) as clinic:
        yield Site(clinic, secured_redis, settings.redis.key_prefix, incoming, keys)


def test_programs_of_the_documentation_run_as_they_are_written(site: Site) -> None:
    submitting = _block("integration.md", "python", '"inbox.submit"')
    submitting = submitting[submitting.index("answer = app") :]
    collecting = _block("integration.md", "python", "retakes.claim")
    calling, _, collecting = collecting.partition("claimed = ")
    reading = _block("integration.md", "python", "decisions.list")

    answer = json.loads(site.foreign(submitting, "import json; print(json.dumps(answer))"))
    assert answer["created"]
    [attachment] = answer["attachments"]
    assert (attachment["attachment_id"], attachment["status"]) == ("a-1", "pending")
    assert eventually(lambda: site.status("m-1001")) == ["flagged"]

    collected = site.foreign(calling, f"claimed = {collecting}").splitlines()
    assert collected[0] == "m-1001 t-17 Please send new photos"
    assert collected[1].startswith("Thank you for your message.")
    assert collected[-1].endswith(" sent")
    assert site.status("m-1001") == ["sent"]

    read = site.foreign(calling, reading).splitlines()
    assert read == ["m-1001 retake no_photo_passed True"]


def test_other_tasks_for_senders_answer_as_the_documentation_says(site: Site) -> None:
    site.clinic.send("m-1", (site.incoming / "photo1.jpg").read_bytes())
    assert eventually(lambda: site.status("m-1")) == ["flagged"]
    [request] = site.clinic.query("SELECT id FROM retake_request")
    calling = _block("integration.md", "python", "def call(").partition("claimed = ")[0]
    calls: list[tuple[str, dict[str, Any]]] = [
        ("retakes.withdraw", {"by": "ehr", "id": str(request.id)}),
        ("threads.opt_out", {"source": "ehr", "thread": "m-1", "by": "ehr"}),
        ("retakes.acknowledge", {"by": "ehr", "requests": [{"id": str(request.id), "token": str(request.id)}]}),
    ]
    printing = "import json\n" + "\n".join(
        f"print(json.dumps(call({task!r}, {document!r})))" for task, document in calls
    )

    withdrawn, opted_out, acknowledged = map(json.loads, site.foreign(calling, printing).splitlines())

    assert (withdrawn["id"], withdrawn["status"]) == (str(request.id), "withdrawn")
    assert (opted_out["opted_out"], opted_out["changed"], opted_out["requests_withdrawn"]) == (True, True, [])
    assert acknowledged == {"requests": [{"id": str(request.id), "status": "lease_lost"}]}

    for value, field in (("__import__('uuid').uuid4()", "thread"), ("float('nan')", "message_id")):
        submission = (
            f'{{"source": "ehr", "message_id": "m-2", "attachments": [{{"uri": "file:///x"}}], "{field}": {value}}}'
        )
        [refused] = site.foreign(
            f"print(app.send_task('inbox.submit', [{submission}], queue='intake').get(30))"
        ).splitlines()
        assert refused == str(
            {"error": {"code": "invalid", "message": f"invalid message: {field}: Input should be a valid string"}}
        )


def test_client_withdraws_requests_opts_threads_out_and_reads_decisions(site: Site) -> None:
    for number in (1, 2):
        photo = (site.incoming / f"photo{number}.jpg").read_bytes()
        site.clinic.send(f"m-{number}", photo)
        assert eventually(partial(site.status, f"m-{number}")) == ["flagged"]
    [first, second] = [row.id for row in site.clinic.query("SELECT id FROM retake_request ORDER BY id")]
    program = f"""
from uuid import UUID
from worker.client import list_decisions, opt_out_thread, withdraw_request

for _ in range(2):
    print(withdraw_request(UUID("{first}"), by="ehr").status.value)
opt_out = opt_out_thread(source="ehr", thread="m-2", by="ehr")
print(opt_out.opted_out, opt_out.changed, *opt_out.requests_withdrawn)
page = list_decisions(limit=2)
print(*[decision.message for decision in page.decisions])
print(*[decision.reason.value for decision in list_decisions(after=page.cursor).decisions])
"""

    lines = _run([sys.executable, "-c", program], site.incoming, site.clinic.environment).splitlines()

    assert lines == ["withdrawn", "withdrawn", f"True True {second}", "m-1 m-2", "opted_out"]


def test_commands_and_python_of_the_documentation_run_as_they_are_written(site: Site) -> None:
    python = [_block("integration.md", "python", part) for part in ("enqueue_message", "acknowledge_requests")]
    collecting = _block("integration.md", "sh", "retakes ack")
    opting_out = _block("integration.md", "sh", "opt-out")

    enqueued = _run([sys.executable, "-c", site.local(python[0])], site.incoming, site.clinic.environment)
    assert enqueued.startswith("True [('a-1', <AttachmentStatus.PENDING")
    assert eventually(lambda: site.status("m-1001")) == ["flagged"]
    *_, acknowledged = site.shell(collecting).partition("\n]\n")
    assert [each["status"] for each in json.loads(acknowledged)["requests"]] == ["sent"]
    assert _run([sys.executable, "-c", python[1]], site.incoming, site.clinic.environment) == "[]\n"
    assert site.shell(opting_out) == "thread t-17 of ehr: opted out\n"
