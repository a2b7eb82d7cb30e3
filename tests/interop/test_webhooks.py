"""The signatures of webhooks are accepted by the libraries of Standard Webhooks."""

import json
import subprocess
from datetime import UTC, datetime
from ipaddress import IPv4Network
from pathlib import Path

import pytest
from standardwebhooks import Webhook

from triage.domain.deliveries import Answer, Event, EventRequest
from triage.domain.ids import EventId, RetakeRequestId, new_id
from triage.domain.states import EventKind
from worker.webhooks.receiver import WebhookReceiver
from worker.webhooks.signing import signature_headers

OLD, NEW = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
STRANGE = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
LOOPBACK = (IPv4Network("127.0.0.0/8"),)


def _event() -> Event:
    request = EventRequest(RetakeRequestId(new_id()), may_have_been_sent=False, withdrawn_reason=None)
    return Event(EventId(new_id()), EventKind.RETAKE_REQUESTED, datetime.now(UTC), "ehr", "m-ä-1", "t-1", None, request)


@pytest.mark.parametrize(
    ("secrets", "verified"),
    [((NEW,), ["WebhookVerificationError", "retake.requested"]), ((NEW, OLD), ["retake.requested"] * 2)],
)
def test_library_for_javascript_verifies_each_secret(
    node: list[str], secrets: tuple[str, ...], verified: list[str]
) -> None:
    """The receiver is a real server, whose body has more bytes than characters."""
    script = Path(__file__).with_name("verify_webhooks.mjs")
    with subprocess.Popen([*node, script, OLD, NEW, STRANGE], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        port = int(server.stdout.readline())

        answer = WebhookReceiver(f"http://127.0.0.1:{port}/hook", secrets, LOOPBACK, 30).send(_event())

        assert answer == Answer(status=204)
        assert json.loads(server.stdout.readline()) == [*verified, "WebhookVerificationError"]
        server.terminate()


@pytest.mark.parametrize("secret", [OLD, NEW])
def test_library_for_python_verifies_each_secret(secret: str) -> None:
    body = b'{"type": "retake.requested"}'
    now = int(datetime.now(UTC).timestamp())

    headers = signature_headers([NEW, OLD], event_id="e-1", timestamp=now, body=body)

    assert Webhook(secret).verify(body, headers) == {"type": "retake.requested"}
