"""What the endpoints take and answer, over a real database and blob store."""

import base64
import json
import threading
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text
from starlette.testclient import TestClient

from tests.support.clinic import Clinic
from triage.domain.scopes import Scope
from triage.files.hashing import sha256_of
from triage.storage.database import Sessions
from worker.settings import Settings
from worker.tasks.base import WorkerServices

Headers = dict[str, str]


@pytest.fixture
def key(as_client: Callable[..., Headers]) -> Headers:
    return as_client()


def post_form(api: TestClient, key: Headers, message: dict[str, Any], *photos: tuple[str, bytes]) -> Any:
    files = [("message", (None, json.dumps(message), "application/json"))]
    files += [(name, ("Erika Mustermann.jpg", data, "image/jpeg")) for name, data in photos]  # type: ignore[misc]
    return api.post("/v1/messages", headers=key, files=files)


def test_form_is_accepted_and_its_photos_are_stored(
    api: TestClient, key: Headers, services: WorkerServices, sessions: Sessions, jpeg: Callable[..., bytes]
) -> None:
    first, second = jpeg(1, 600, 600), jpeg(2)
    answer = post_form(
        api,
        key,
        {
            "source": "ehr",
            "message_id": "m/1",
            "thread": "t-1",
            "attachments": [{"part": "b", "attachment_id": "a-2", "group": "arm"}, {"part": "a"}],
        },
        ("a", first),
        ("b", second),
    )

    assert answer.status_code == 202
    assert answer.headers["location"] == "/v1/messages/ehr/m%2F1"
    document = answer.json()
    assert [each["attachment_id"] for each in document["attachments"]] == ["a-2", sha256_of(first)[:16]]
    assert [each["status"] for each in document["attachments"]] == ["pending", "pending"]
    assert services.blobs.get(sha256_of(first)) == first
    assert services.blobs.get(sha256_of(second)) == second
    with sessions() as session:
        stored = session.execute(text("SELECT string_agg(row_to_json(attachment)::text, '') FROM attachment")).scalar()
    assert "Mustermann" not in str(stored)
    assert '"media_type":"image/jpeg"' in str(stored)


def test_submission_is_idempotent(api: TestClient, key: Headers, jpeg: Callable[..., bytes]) -> None:
    message = {"source": "ehr", "message_id": "m-1"}
    first = post_form(api, key, message, ("photo", jpeg(1)), ("photo", jpeg(2))).json()
    second = post_form(api, key, message, ("photo", jpeg(1)), ("photo", jpeg(2))).json()

    assert (first["created"], second["created"]) == (True, False)
    assert second | {"created": True} == first


def test_json_is_accepted_with_bytes_and_uris(
    api: TestClient, key: Headers, settings: Settings, services: WorkerServices, jpeg: Callable[..., bytes]
) -> None:
    photo = jpeg(3)
    answer = api.post(
        "/v1/messages",
        headers=key,
        json={
            "source": "ehr",
            "message_id": "m-2",
            "attachments": [
                {"data": base64.b64encode(photo).decode(), "attachment_id": "a-1"},
                {"uri": f"{settings.intake.uri_roots[0]}/1.jpg", "attachment_id": "a-2"},
                {"uri": "file:///etc/passwd", "attachment_id": "a-3"},
            ],
        },
    )

    assert answer.status_code == 202
    assert [each["error_code"] for each in answer.json()["attachments"]] == [None, None, "uri_not_allowed"]
    assert services.blobs.get(sha256_of(photo)) == photo


def test_photo_beyond_the_limit_is_recorded_and_not_stored(
    api: TestClient, key: Headers, settings: Settings, services: WorkerServices
) -> None:
    photo = b"\xff\xd8\xff" + bytes(settings.intake.max_bytes)
    answer = post_form(api, key, {"source": "ehr", "message_id": "m-3"}, ("photo", photo), ("photo", b""))

    assert [each["error_code"] for each in answer.json()["attachments"]] == ["too_large", None]
    assert services.blobs.size(sha256_of(photo)) == 0


@pytest.mark.parametrize(
    ("message", "photos", "problem"),
    [
        ({"source": "ehr"}, ["a"], "message_id: Field required"),
        ({"source": "ehr", "message_id": "m", "attachments": [{"part": "b"}]}, ["a"], "does not have"),
        ({"source": "ehr", "message_id": "m", "attachments": [{"part": "a"}]}, ["a", "b"], "no attachment names"),
        ({"source": "ehr", "message_id": "m", "attachments": [{"part": "a"}] * 2}, ["a"], "twice"),
        ({"source": "ehr", "message_id": "m", "attachments": [{"part": "a"}]}, ["a", "a"], "same part name"),
        ({"source": "ehr", "message_id": "m", "attachments": [{"part": "a", "uri": "x"}]}, ["a"], "one of uri"),
        ({"source": "e h r", "message_id": "m"}, ["a"], "invalid source"),
        ({"source": "ehr", "message_id": "m"}, [], "no photos"),
        ({"source": "ehr", "message_id": "m"}, ["a"] * 21, "at most 20 in one request"),
    ],
)
def test_form_is_refused_whole_when_it_is_wrong(
    message: dict[str, Any], photos: list[str], problem: str, api: TestClient, key: Headers, sessions: Sessions
) -> None:
    answer = post_form(api, key, message, *((name, b"photo %d" % n) for n, name in enumerate(photos)))

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid")
    assert problem in answer.json()["detail"]
    with sessions() as session:
        assert session.execute(text("SELECT count(*) FROM message")).scalar_one() == 0


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        ("multipart/form-data", b"", 400),
        ("multipart/form-data; boundary=x", b"", 400),
        ("multipart/form-data; boundary=x", b"no form", 400),
        ("multipart/form-data; boundary=x", b'--x\r\nContent-Disposition: form-data; name="photo"\r\n\r\nhalf', 400),
        ("multipart/form-data; boundary=x", b'--x\r\nContent-Disposition: form-data; name="p"\r\n\r\na\r\n--x--', 400),
        ("application/json", b"{", 400),
        ("application/json", b"[" * 100_000, 400),
        ("application/json", b'{"source": NaN}', 400),
        ("application/json", b"\xff", 400),
        ("application/json", b'{"\\u001b[2J\\u202e' + b"Erika" * 1000 + b'": 1}', 400),
        ("text/plain", b"{}", 415),
        ("", b"{}", 415),
    ],
)
def test_body_is_refused_when_it_is_malformed(
    content_type: str, body: bytes, status: int, api: TestClient, key: Headers
) -> None:
    answer = api.post("/v1/messages", headers=key | {"Content-Type": content_type}, content=body)

    assert answer.status_code == status
    assert answer.json()["detail"].isprintable()
    assert len(answer.json()["detail"]) < 500


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ('{"source": "ehr", "message_id": "m", "attachments": [' + "{}," * 99_999 + "{}]}", 413, "too_large"),
        ('{"source": "ehr", "message_id": "m", "attachments": [' + "{}," * 20_000 + "{}]}", 400, "invalid"),
    ],
    ids=["elements", "attachments"],
)
def test_body_is_refused_when_it_has_too_many_elements(
    api: TestClient, key: Headers, body: str, status: int, code: str
) -> None:
    answer = api.post("/v1/messages", content=body, headers=key | {"Content-Type": "application/json"})

    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert len(answer.text) < 1_000


def test_body_is_refused_when_it_is_too_large(api: TestClient, key: Headers, settings: Settings) -> None:
    for headers in ({}, {"Transfer-Encoding": "chunked"}):
        answer = api.post(
            "/v1/retakes/claim",
            headers=key | {"Content-Type": "application/json"} | headers,
            content=b" " * (settings.api.max_json_bytes + 1),
        )
        assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


def test_state_is_answered_at_once_when_nobody_waits(api: TestClient, key: Headers, clinic: Clinic) -> None:
    clinic.send("m-1", "0.9", thread="t-1")
    pending = api.get("/v1/messages/ehr/m-1", headers=key).json()
    assert (pending["outcome"], pending["photos_pending"], pending["thread"]) == (None, 1, "t-1")

    clinic.drain()

    decided = api.get("/v1/messages/ehr/m-1", headers=key).json()
    assert (decided["outcome"], decided["reason"], decided["photos_pending"]) == ("pass", "photo_passed", 0)
    assert api.get("/v1/messages/other/m-1", headers=key).status_code == 404


def test_waiting_ends_with_the_decision(api: TestClient, key: Headers, clinic: Clinic) -> None:
    clinic.send("m-1", "0.1")
    decide = threading.Timer(1.0, clinic.drain)
    decide.start()
    begin = time.monotonic()

    state = api.get("/v1/messages/ehr/m-1", params={"wait": 60}, headers=key).json()

    decide.join()
    assert state["outcome"] == "retake"
    assert state["retake_request"]["status"] == "flagged"
    assert time.monotonic() - begin < 50  # far below the wait, however loaded the machine is


def test_waiting_ends_at_its_time_when_there_is_no_decision(api: TestClient, key: Headers, clinic: Clinic) -> None:
    clinic.send("m-1", "0.1")

    assert api.get("/v1/messages/ehr/m-1", params={"wait": 0.2}, headers=key).json()["outcome"] is None


@pytest.mark.parametrize("query", ["wait=-1", "wait=61", "wait=nan", "wait=1&wait=2", "wait=x", "other=1"])
def test_query_is_refused_when_it_is_wrong(query: str, api: TestClient, key: Headers) -> None:
    answer = api.get(f"/v1/messages/ehr/m-1?{query}", headers=key)

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid")
    assert answer.json()["detail"].startswith("invalid query: ")


def test_verdict_is_read_by_attachment(api: TestClient, key: Headers, clinic: Clinic) -> None:
    photo = clinic.send("m-1", "0.25").attachments[0].id
    path = f"/v1/attachments/{photo}/verdict"
    assert api.get(path, headers=key).json()["verdict"] is None
    clinic.drain()

    document = api.get(path, headers=key).json()

    assert (document["status"], document["attachment_id"], document["message_id"]) == ("scored", "0.25", "m-1")
    assert (document["verdict"]["score"], document["verdict"]["acceptable"]) == (0.25, False)
    assert api.get(f"/v1/attachments/{uuid4()}/verdict", headers=key).status_code == 404
    assert api.get("/v1/attachments/1/verdict", headers=key).status_code == 400


def test_requests_are_listed_claimed_acknowledged_and_withdrawn(api: TestClient, key: Headers, clinic: Clinic) -> None:
    for number in range(3):
        clinic.send(f"m-{number}", f"{number}/0.1")
    clinic.drain()
    listed = api.get("/v1/retakes", params={"status": "flagged", "limit": 2}, headers=key).json()["requests"]
    assert [each["message_id"] for each in listed] == ["m-2", "m-1"]

    claimed = api.post("/v1/retakes/claim", json={"limit": 2, "source": "ehr"}, headers=key).json()["requests"]
    assert [each["message_id"] for each in claimed] == ["m-0", "m-1"]
    withdrawn = api.post(f"/v1/retakes/{claimed[1]['id']}/withdraw", headers=key).json()
    assert withdrawn["status"] == "withdrawn"
    answers = api.post("/v1/retakes/acknowledge", json={"requests": claimed}, headers=key).json()["requests"]
    assert [each["status"] for each in answers] == ["sent", "withdrawn"]

    refused = api.post(f"/v1/retakes/{claimed[0]['id']}/withdraw", headers=key)
    assert (refused.status_code, refused.json()["code"]) == (400, "invalid")
    assert api.post(f"/v1/retakes/{uuid4()}/withdraw", headers=key).status_code == 404
    assert {row.actor for row in clinic.query("SELECT actor FROM audit_event WHERE subject_kind = 'retake'")} >= {"ehr"}


def test_thread_is_opted_out(api: TestClient, key: Headers, clinic: Clinic) -> None:
    clinic.send("m-1", "0.1", thread="t-1")
    clinic.drain()

    document = api.post("/v1/threads/opt-out", json={"source": "ehr", "thread": "t-1"}, headers=key).json()

    assert (document["opted_out"], document["changed"], len(document["requests_withdrawn"])) == (True, True, 1)


def test_override_records_the_client_and_the_person(api: TestClient, key: Headers, clinic: Clinic) -> None:
    clinic.send("m-1", "0.1")
    clinic.drain()
    body = {"source": "ehr", "message_id": "m-1", "outcome": "pass", "by": "dr-7", "reason": "sharp enough"}

    assert api.post("/v1/overrides", json=body, headers=key).json()["actor"] == "ehr/dr-7"
    assert clinic.decisions("m-1")[-1] == ("pass", "override")
    assert api.post("/v1/overrides", json=body | {"outcome": "uncertain"}, headers=key).status_code == 400
    assert api.post("/v1/overrides", json=body | {"message_id": "m-9"}, headers=key).status_code == 404
    assert api.post("/v1/overrides", json=body | {"by": "Dr. Erika"}, headers=key).status_code == 400


def test_decisions_are_read_by_a_cursor(api: TestClient, key: Headers, clinic: Clinic) -> None:
    clinic.send("m-1", "0.9")
    clinic.drain()

    page = api.get("/v1/decisions", headers=key).json()

    assert [each["message_id"] for each in page["decisions"]] == ["m-1"]
    assert api.get("/v1/decisions", params={"after": page["cursor"]}, headers=key).json()["decisions"] == []
    assert api.get("/v1/decisions", params={"after": "x"}, headers=key).status_code == 400


def test_report_is_served_as_json_csv_and_html(api: TestClient, key: Headers, clinic: Clinic) -> None:
    clinic.send("m-1", "0.9")
    clinic.drain()

    def read(**query: str) -> Any:
        return api.get("/v1/report", params=query, headers=key)

    assert read().json()["messages"]["pass"] == 1
    table = read(format="csv", by="day,source")
    assert table.headers["content-type"].startswith("text/csv")
    assert table.text.splitlines()[1].split(",")[1:4] == ["ehr", "1", "1"]
    page = read(format="html")
    assert page.text.startswith("<!doctype html>") or page.text.startswith("<!DOCTYPE html>")
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    assert read(since="2026-01-02T00:00:00Z", until="2026-01-01T00:00:00Z").status_code == 400
    assert read(since="2026-01-02T00:00:00").status_code == 400
    assert read(by="day,patient").status_code == 400
    compared = read(compare_to="previous", answer_days="7").json()
    assert (compared["retake_outcomes"]["answer_days"], compared["compared_to"]["messages"]["total"]) == (7, 0)
    assert compared["compared_to"]["until"] == compared["since"]
    assert read(compare_to="2026-01-01..2026-02-01").json()["compared_to"]["since"] == "2026-01-01T00:00:00+00:00"
    assert [read(compare_to="last").status_code, read(answer_days="366").status_code] == [400, 400]
    for beyond in ({"since": "0001-01-01T00:00:00+14:00"}, {"until": "9999-12-31T23:59:59-14:00"}):
        assert (read(**beyond).status_code, read(**beyond).json()["code"]) == (400, "invalid")


def test_report_is_refused_when_a_statement_takes_too_long(
    services: WorkerServices, api: TestClient, key: Headers, clinic: Clinic
) -> None:
    limited = services.settings.api.model_copy(update={"statement_seconds": 0.05})
    services.settings = services.settings.model_copy(update={"api": limited})
    with clinic.sessions.begin() as session:
        session.execute(text("LOCK TABLE archived_count"))
        refused = api.get("/v1/report", headers=key)

    assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
    assert refused.json()["detail"] == "the database needs too long for this: ask for a shorter period"
    assert "retry-after" not in refused.headers  # the same request would take as long again


def test_metrics_count_requests(api: TestClient, key: Headers) -> None:
    api.get("/v1/retakes", headers=key)

    metrics = api.get("/metrics", headers=key).text

    assert 'triage_http_requests_total{endpoint="list_retakes",status="200"}' in metrics
    assert "process_resident_memory_bytes" in metrics


def test_nothing_may_be_cached(api: TestClient, key: Headers) -> None:
    headers = api.get("/v1/retakes", headers=key).headers
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"


def test_client_with_one_scope_cannot_do_more(api: TestClient, as_client: Callable[..., Headers]) -> None:
    reader = as_client(Scope.RETAKES_READ)
    assert api.get("/v1/retakes", headers=reader).status_code == 200
    assert api.post("/v1/retakes/claim", json={}, headers=reader).status_code == 403


def test_outage_is_answered_with_retry_and_without_its_details(
    api: TestClient, key: Headers, services: WorkerServices, jpeg: Callable[..., bytes]
) -> None:
    post_form(api, key, {"source": "ehr", "message_id": "m-1"}, ("photo", jpeg(1)))
    folder = services.blobs.folder
    assert folder is not None
    folder.rename(folder.with_name("unmounted"))

    answer = post_form(api, key, {"source": "ehr", "message_id": "m-2"}, ("photo", jpeg(2)))

    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert answer.json()["detail"] == "a service behind this one is unavailable: retry later"
    assert int(answer.headers["retry-after"]) > 0
    assert api.get("/readyz").status_code == 503
    assert api.get("/livez").status_code == 200
