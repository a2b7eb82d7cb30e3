import base64
import json
from pathlib import Path
from typing import Any

import pytest
from celery.exceptions import SecurityError

from tests.support.certificates import make_certificate
from worker.broker.envelope import RejectedMessageError
from worker.broker.seal import Seal
from worker.broker.signing import Signatures, state_task

TASK, TASK_ID = "inbox.submit", "id-1"


@pytest.fixture(scope="module")
def seal(tmp_path_factory: pytest.TempPathFactory) -> Seal:
    folder = tmp_path_factory.mktemp("trusted")
    certificate, key = make_certificate(folder, "triage")
    return Seal(key, certificate, folder)


def _message(seal: Seal, *, options: dict[str, Any] | None = None, **headers: str) -> dict[str, Any]:
    """A signed message; `options` replace what is stated about the task, `headers` those that agree with it."""
    if options is None:
        options = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
        state_task(options, task=TASK, task_id=TASK_ID)
    envelope: str = seal.serialize([[{"source": "ehr"}], {}, options])
    return {
        "body": base64.b64encode(envelope.encode()).decode(),
        "content-type": "application/data",
        "headers": {"task": TASK, "id": TASK_ID} | headers,
    }


def _problem(seal: Seal, message: dict[str, Any]) -> str | None:
    return Signatures(seal, max_age_seconds=60).problem(message)


def test_signed_message_has_no_problem(seal: Seal) -> None:
    assert _problem(seal, _message(seal)) is None


@pytest.mark.parametrize("headers", [{"task": "inbox.sweep"}, {"id": "id-2"}])
def test_message_is_forged_when_its_headers_differ_from_the_statement(seal: Seal, headers: dict[str, Any]) -> None:
    assert _problem(seal, _message(seal, **headers)) == "forged_headers"


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"signed": None},
        {"signed": {"task": TASK, "id": TASK_ID}},
        {"signed": {"task": TASK, "id": TASK_ID, "at": "now"}},
        {"signed": {"task": TASK, "id": TASK_ID, "at": 0}, "callbacks": [{"task": "inbox.sweep"}]},
    ],
)
def test_message_is_forged_when_it_states_too_little_or_calls_further_tasks(
    seal: Seal, options: dict[str, Any]
) -> None:
    assert _problem(seal, _message(seal, options=options)) == "forged_headers"


@pytest.mark.parametrize("seconds", [-61, 301])
def test_message_expires_at_its_maximum_age_and_when_it_comes_from_the_future(
    seal: Seal, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    monkeypatch.setattr("worker.broker.signing.time.time", lambda: 1e9 + seconds)
    message = _message(seal)
    monkeypatch.setattr("worker.broker.signing.time.time", lambda: 1e9)

    assert _problem(seal, message) == "expired"


def test_signed_bytes_are_within_the_limits_of_every_message(seal: Seal) -> None:
    nested = json.loads("[" * 900 + "]" * 900)
    message = _message(seal, options={"signed": {"task": TASK, "id": TASK_ID, "at": nested}})

    with pytest.raises(RejectedMessageError, match="too_deep"):
        _problem(seal, message)


def test_message_is_unsigned_when_its_content_is_plain_json(seal: Seal) -> None:
    assert _problem(seal, _message(seal) | {"content-type": "application/json"}) == "unsigned"


@pytest.mark.parametrize("body", ["", "!", base64.b64encode(b"no envelope").decode()])
def test_signature_is_bad_when_the_body_is_no_envelope(seal: Seal, body: str) -> None:
    assert _problem(seal, _message(seal) | {"body": body}) == "bad_signature"


@pytest.mark.parametrize(("old", "new"), [(b"ehr", b"EHR"), (b"application/json", b"pickle"), (b"utf-8", b"utf-7")])
def test_envelope_does_not_open_when_a_byte_of_it_was_changed(seal: Seal, old: bytes, new: bytes) -> None:
    plain = base64.b64decode(seal.serialize([[{"source": "ehr"}], {}, {}]))
    assert old in plain

    with pytest.raises(SecurityError):
        seal.open(base64.b64encode(plain.replace(old, new)))


def test_envelope_does_not_open_when_its_signer_is_a_stranger(seal: Seal, tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path, "triage")  # of the same name

    with pytest.raises(SecurityError):
        seal.open(Seal(key, certificate, tmp_path).serialize([[], {}, {}]))
