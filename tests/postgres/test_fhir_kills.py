"""SIGKILL of real processes that write to a FHIR server and read there, at the moments that matter.

The server kills its client when it has stored an answer, or read what it asked for: between the request and the record.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from joserfc.jwk import ECKey
from sqlalchemy import text
from werkzeug import Request

from tests.support.clinic import Clinic
from tests.support.fhir_server import FhirServer, fhir_server
from triage.arrivals.announce import announce
from triage.deliveries import manage
from triage.domain.messages import IncomingAttachment, IncomingMessage
from worker.settings import Settings

_SCRIPT = """
import sys
from datetime import timedelta
from triage.arrivals.reading import Collector
from triage.deliveries.dispatch import Dispatcher
from triage.deliveries.rules import DeliveryRules
from worker.services import Services
from worker.settings import load_settings

RULES = DeliveryRules(first_delay=timedelta(0), longest_delay=timedelta(0), lease=timedelta(seconds=1), at_once=1)
with Services(load_settings()) as services:
    if sys.argv[1] == "send":
        receiver, _ = services._fhir_answers()
        Dispatcher(services.sessions, "fhir", receiver, RULES).dispatch(seconds=60)
    else:
        policy = services.settings.retake_policy
        Collector(services.sessions, services.intake, "fhir", services.inbound, policy, rules=RULES).collect(seconds=60)
"""


@pytest.fixture
def ehr() -> Iterator[FhirServer]:
    with fhir_server() as server:
        yield server


Run = Callable[[str], int]


@pytest.fixture
def run(settings: Settings, ehr: FhirServer, environment: Callable[[str, str], None], tmp_path: Path) -> Run:
    """Runs a sender or a reader as a process until nothing is due; returns its exit code."""
    (tmp_path / "key.pem").write_bytes(ECKey.generate_key("P-384").as_pem(private=True))
    for name, value in {"URL": ehr.base, "CLIENT_ID": "triage", "KEY_FILE": str(tmp_path / "key.pem")}.items():
        environment(f"FHIR__{name}", value)
    environment("FHIR__ANSWERS", "true")

    def run(what: str) -> int:
        with subprocess.Popen([sys.executable, "-c", _SCRIPT, what], stderr=subprocess.PIPE) as process:
            ehr.pid = process.pid
            _, errors = process.communicate(timeout=120)
        assert process.returncode in {0, -signal.SIGKILL}, errors.decode()
        return process.returncode

    return run


def _kill_once_each(ehr: FhirServer, *starts: str) -> list[str]:
    """Has the server kill its client once for each start of a request, after it was carried out; returns the kills."""
    kills: list[str] = []

    def kill(request: Request) -> None:
        sent = f"{request.method} {request.path.removeprefix('/fhir/')}"
        for start in starts:
            if sent.startswith(start) and start not in kills:
                kills.append(start)
                os.kill(ehr.pid, signal.SIGKILL)

    ehr.before_answer = kill
    return kills


def _run_until_done(run: Run, what: str, clinic: Clinic, table: str) -> None:
    for _ in range(10):
        if run(what) == 0:
            return
        clinic.execute(f"UPDATE {table} SET due_at = now() WHERE status = 'pending'")  # as if the lease had ended
    raise AssertionError("killed again and again")


def test_answer_exists_once_when_its_sender_is_killed_before_it_records(
    clinic: Clinic, ehr: FhirServer, run: Run
) -> None:
    manage.register(clinic.sessions, "fhir")
    for number in range(3):
        photo = IncomingAttachment(uri=f"file:///in/{number}/0.2", external_id="1")
        clinic.intake.enqueue([IncomingMessage("fhir", f"Communication/{number}", [photo])])
    clinic.drain()
    kills = _kill_once_each(ehr, "POST CommunicationRequest", "POST Observation")

    _run_until_done(run, "send", clinic, "delivery")

    assert sorted(kills) == ["POST CommunicationRequest", "POST Observation"]
    for kind in ("CommunicationRequest", "Observation"):
        assert [each["meta"]["versionId"] for each in ehr.of_type(kind)] == ["1", "1", "1"]
    assert [status for _, status in clinic.requests()] == ["sent", "sent", "sent"]
    with clinic.sessions() as session:
        assert session.scalar(text("SELECT count(*) FROM audit_event WHERE action = 'retake.acked'")) == 3


def test_message_is_accepted_once_when_its_reader_is_killed(clinic: Clinic, ehr: FhirServer, run: Run) -> None:
    photo = {"resourceType": "Binary", "contentType": "image/jpeg", "data": "/9j/"}
    for number in range(2):
        message = {
            "resourceType": "Communication",
            "status": "completed",
            "sender": {"reference": "Patient/7"},
            "payload": [{"contentReference": {"reference": f"Binary/b{number}"}}],
        }
        for id_, resource in ((f"b{number}", photo), (f"c{number}", message)):
            kind = str(resource["resourceType"])
            ehr.stored[f"{kind}/{id_}"] = json.loads(json.dumps(resource)) | {"id": id_, "meta": {"versionId": "1"}}
    announce(clinic.sessions, "fhir", {"Communication/c0": "1", "Communication/c1": "1"})
    kills = _kill_once_each(ehr, "GET Communication/c0", "GET Binary/b1")

    _run_until_done(run, "read", clinic, "arrival")

    assert sorted(kills) == ["GET Binary/b1", "GET Communication/c0"]
    read = clinic.query("SELECT external_id FROM message ORDER BY external_id")
    assert [row.external_id for row in read] == ["Communication/c0", "Communication/c1"]
    assert [row.status for row in clinic.query("SELECT status FROM arrival")] == ["done", "done"]
    assert len(clinic.query("SELECT id FROM attachment")) == 2
