"""A client that is limited to a source neither reads nor changes messages of another, on any endpoint."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.support.clinic import Clinic
from triage.clients import registration
from triage.clients.credentials import issue_token
from triage.domain.scopes import ACROSS_SOURCES, Scope
from triage.errors import UsageError
from triage.retakes.reviews import appeal
from worker.api.subjects import SUBJECTS
from worker.tasks.base import WorkerServices

Headers = dict[str, str]
OWN, OTHER = "portal", "ehr"
SCOPES = [scope for scope in Scope if scope not in ACROSS_SOURCES]
LIMITED = {
    "submit_message",
    "read_message",
    "read_verdict",
    "list_retakes",
    "claim_retakes",
    "withdraw_retake",
    "opt_thread_out",
    "read_decisions",
    "override_message",
    "appeal_request",
    "review_request",
    "sample_retakes",
}
"""Each has a test below."""

ELSEWHERE = {  # of the source of the FHIR server: test_fhir_hooks.py and test_fhir_server.py
    "receive_notification",
    "receive_resource",
    "create_communication",
    "update_communication",
    "read_communication",
    "process_transaction",
}

UNLIMITED = {
    "acknowledge_retakes",  # by the token of a claim, which only its claimer has
    "assess_photo",  # belongs to no source
    "read_report",  # forbidden to limited clients
    "metrics",  # of the process
}


@pytest.fixture
def key(services: WorkerServices) -> Headers:
    made = registration.add(services.sessions, "portal", SCOPES, by="admin", sources=[OWN])
    return {"Authorization": f"Bearer {made.key}"}


@pytest.fixture
def both(clinic: Clinic) -> Clinic:
    """A decided message with a retake request of each source."""
    for source in (OWN, OTHER):
        clinic.send("m-1", "0.1", source=source, thread="t-1")
    clinic.drain()
    return clinic


def request_of(clinic: Clinic, source: str) -> str:
    [row] = clinic.query(
        "SELECT r.id FROM retake_request r JOIN message m ON m.id = r.message_id WHERE m.source = :source",
        source=source,
    )
    return str(row.id)


def test_every_endpoint_with_a_scope_is_limited_or_needs_no_limit() -> None:
    assert {
        each.name for subject in SUBJECTS for each in subject.declared if each.scope
    } == LIMITED | ELSEWHERE | UNLIMITED


def test_message_of_another_source_is_not_accepted(api: TestClient, key: Headers, clinic: Clinic) -> None:
    message = {"message_id": "m-1", "attachments": [{"data": "aGVsbG8="}]}

    refused = api.post("/v1/messages", headers=key, json=message | {"source": OTHER})

    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    assert clinic.query("SELECT FROM message") == []
    assert api.post("/v1/messages", headers=key, json=message | {"source": OWN}).status_code == 202


def test_message_of_another_source_is_not_read(api: TestClient, key: Headers, both: Clinic) -> None:
    [other] = both.query("SELECT id FROM message WHERE source = :source", source=OTHER)

    assert api.get(f"/v1/messages/{OTHER}/m-1", headers=key).status_code == 403
    assert api.get(f"/v1/messages/{OWN}/{other.id}", headers=key).status_code == 404  # by our id, which names no source
    assert api.get(f"/v1/messages/{OWN}/m-1", headers=key).status_code == 200


def test_verdict_of_another_source_is_not_read(api: TestClient, key: Headers, both: Clinic) -> None:
    photos = {
        row.source: row.id
        for row in both.query("SELECT m.source, a.id FROM attachment a JOIN message m ON m.id = a.message_id")
    }

    assert api.get(f"/v1/attachments/{photos[OTHER]}/verdict", headers=key).status_code == 404
    assert api.get(f"/v1/attachments/{photos[OWN]}/verdict", headers=key).status_code == 200


def test_requests_of_another_source_are_neither_listed_nor_claimed(api: TestClient, key: Headers, both: Clinic) -> None:
    assert sources(api.get("/v1/retakes", headers=key).json()["requests"]) == [OWN]
    assert api.post("/v1/retakes/claim", headers=key, json={"source": OTHER}).status_code == 403

    claimed = api.post("/v1/retakes/claim", headers=key, json={"limit": 10}).json()

    assert sources(claimed["requests"]) == [OWN]
    assert api.post("/v1/retakes/acknowledge", headers=key, json=claimed).json()["requests"][0]["status"] == "sent"
    assert sorted(both.requests()) == [("m-1", "flagged"), ("m-1", "sent")]


def test_request_of_another_source_is_not_withdrawn(api: TestClient, key: Headers, both: Clinic) -> None:
    assert api.post(f"/v1/retakes/{request_of(both, OTHER)}/withdraw", headers=key).status_code == 404
    assert both.requests() == [("m-1", "flagged")] * 2
    assert api.post(f"/v1/retakes/{request_of(both, OWN)}/withdraw", headers=key).status_code == 200


def test_thread_of_another_source_is_not_opted_out(api: TestClient, key: Headers, both: Clinic) -> None:
    assert api.post("/v1/threads/opt-out", headers=key, json={"source": OTHER, "thread": "t-1"}).status_code == 403
    assert both.requests() == [("m-1", "flagged")] * 2


def test_decisions_of_another_source_are_not_read(
    api: TestClient, key: Headers, as_client: Callable[..., Headers], both: Clinic
) -> None:
    own = api.get("/v1/decisions", headers=key).json()

    assert sources(own["decisions"]) == [OWN]
    assert len(api.get("/v1/decisions", headers=as_client()).json()["decisions"]) == 2
    both.send("m-2", "0.1", source=OWN)
    both.drain()
    following = api.get("/v1/decisions", params={"after": own["cursor"]}, headers=key).json()
    assert [each["message_id"] for each in following["decisions"]] == ["m-2"]


def test_message_of_another_source_is_not_decided(api: TestClient, key: Headers, both: Clinic) -> None:
    body = {"source": OTHER, "message_id": "m-1", "outcome": "pass", "by": "dr-1", "reason": "sharp enough"}
    [other] = both.query("SELECT id FROM message WHERE source = :source", source=OTHER)

    assert api.post("/v1/overrides", headers=key, json=body).status_code == 403
    by_our_id = body | {"source": OWN, "message_id": str(other.id)}
    assert api.post("/v1/overrides", headers=key, json=by_our_id).status_code == 404
    assert both.requests() == [("m-1", "flagged")] * 2
    assert api.post("/v1/overrides", headers=key, json=body | {"source": OWN}).status_code == 200


def test_request_of_another_source_is_not_appealed(api: TestClient, key: Headers, both: Clinic) -> None:
    [other] = both.query("SELECT id FROM message WHERE source = :source", source=OTHER)
    body = {"message_id": "m-1", "by": "dr-1", "reason": "sharp enough"}

    assert api.post("/v1/appeals", headers=key, json=body | {"source": OTHER}).status_code == 403
    by_our_id = body | {"source": OWN, "message_id": str(other.id)}
    assert api.post("/v1/appeals", headers=key, json=by_our_id).status_code == 404
    assert both.query("SELECT FROM request_review") == []
    assert api.post("/v1/appeals", headers=key, json=body | {"source": OWN}).status_code == 200


def test_request_of_another_source_is_not_reviewed(api: TestClient, key: Headers, both: Clinic) -> None:
    [other] = both.query("SELECT id FROM message WHERE source = :source", source=OTHER)
    body = {"message_id": "m-1", "needless": False, "by": "dr-1"}

    assert api.post("/v1/reviews", headers=key, json=body | {"source": OTHER}).status_code == 403
    by_our_id = body | {"source": OWN, "message_id": str(other.id)}
    assert api.post("/v1/reviews", headers=key, json=by_our_id).status_code == 404
    assert both.query("SELECT FROM request_review") == []
    assert api.post("/v1/reviews", headers=key, json=body | {"source": OWN}).status_code == 200


def test_appeal_of_another_source_is_not_answered(api: TestClient, key: Headers, both: Clinic) -> None:
    for source in (OWN, OTHER):
        appeal(both.sessions, "m-1", source=source, by="n-1", reason="sharp")
    body = {"message_id": "m-1", "needless": False, "by": "dr-1", "answers_appeal": True}

    assert api.post("/v1/reviews", headers=key, json=body | {"source": OTHER}).status_code == 403
    answer = api.post("/v1/reviews", headers=key, json=body | {"source": OWN})

    assert (answer.status_code, answer.json()["kind"]) == (200, "ruling")
    waiting = both.query("SELECT message.source FROM message JOIN waiting_message ON message_id = message.id")
    assert waiting == [(OTHER,)]


def test_sample_leaves_out_requests_of_another_source(
    api: TestClient, key: Headers, as_client: Callable[..., Headers], both: Clinic
) -> None:
    unlimited = as_client()
    own = api.get("/v1/retakes/sample", headers=key).json()

    assert (own["requests"], sources(own["proposed"])) == (1, [OWN])
    assert sorted(sources(api.get("/v1/retakes/sample", headers=unlimited).json()["proposed"])) == [OTHER, OWN]
    review = {"source": OTHER, "message_id": "m-1", "needless": True, "by": "dr-1"}
    assert api.post("/v1/reviews", headers=unlimited, json=review).status_code == 200
    assert api.get("/v1/retakes/sample", headers=key).json() == own  # not planned by reviews of others


def test_client_with_a_limit_has_no_scope_across_sources(api: TestClient, services: WorkerServices) -> None:
    with pytest.raises(UsageError, match=r"reports\.read is across all sources"):
        registration.add(services.sessions, "portal", list(Scope), by="admin", sources=[OWN])
    with pytest.raises(UsageError, match="invalid source"):
        registration.add(services.sessions, "portal", SCOPES, by="admin", sources=["a b"])
    with pytest.raises(UsageError, match="invalid sources"):
        registration.add(services.sessions, "portal", SCOPES, by="admin", sources=[])


def test_access_token_is_limited_as_its_client_is(
    api: TestClient, key: Headers, services: WorkerServices, both: Clinic
) -> None:
    token = issue_token(services.sessions, "portal", jti="1", life=timedelta(minutes=1))
    assert token is not None

    listed = api.get("/v1/retakes", headers={"Authorization": f"Bearer {token.token}"}).json()

    assert sources(listed["requests"]) == [OWN]


def test_limit_is_audited(key: Headers, clinic: Clinic) -> None:
    [event] = clinic.query("SELECT details FROM audit_event WHERE action = 'client.added'")
    assert event.details["sources"] == [OWN]


def sources(documents: list[dict[str, Any]]) -> list[str]:
    return [each["source"] for each in documents]
