"""Messages that clients send as FHIR resources: what is stored, and what the server answers."""

import base64
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from pytest_httpserver import HTTPServer
from sqlalchemy import text
from starlette.testclient import TestClient

from tests.support.deployment import eventually
from tests.support.flagged import flag
from triage.blobs.uris import UriPolicy
from triage.domain.messages import Origin
from triage.domain.scopes import Scope
from triage.files.hashing import sha256_of
from triage.storage import origins
from triage.storage.database import Sessions
from worker.fhir.terms import REQUEST_ID
from worker.settings import Settings
from worker.tasks.base import WorkerServices

Headers = dict[str, str]
Rows = Callable[[str], list[Any]]
FHIR = {"Content-Type": "application/fhir+json"}
IDENTIFIER = {"system": "urn:oid:1.2.3", "value": "m-1"}


@pytest.fixture
def pusher(as_client: Callable[..., Headers]) -> Headers:
    """The header of an interface engine."""
    scopes = (Scope.FHIR_CREATE, Scope.FHIR_UPDATE, Scope.FHIR_READ)
    return as_client(*scopes, name="engine") | FHIR


@pytest.fixture
def rows(sessions: Sessions) -> Rows:
    def read(sql: str) -> list[Any]:
        with sessions() as session:
            return [tuple(row) for row in session.execute(text(sql))]

    return read


def _attachment(photo: bytes, **fields: Any) -> dict[str, Any]:
    data = base64.b64encode(photo).decode()
    return {"contentAttachment": {"contentType": "image/jpeg", "data": data, **fields}}


def _message(*payload: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {
        "resourceType": "Communication",
        "identifier": [IDENTIFIER],
        "status": "completed",
        "sender": {"reference": "https://ehr.example/fhir/Patient/7", "display": "Ana Diaz"},
        "subject": {"reference": "Patient/7"},
        "payload": [{"contentString": "it itches"}, *payload],
        **fields,
    }


def _entry(resource: dict[str, Any], name: str | None = None, **request: Any) -> dict[str, Any]:
    entry = {"resource": resource, "request": {"method": "POST", "url": resource["resourceType"], **request}}
    return entry | ({"fullUrl": name} if name else {})


def _transaction(*entries: dict[str, Any]) -> dict[str, Any]:
    return {"resourceType": "Bundle", "type": "transaction", "entry": list(entries)}


@contextmanager
def _racing(sessions: Sessions) -> Iterator[Callable[[], None]]:
    """Stops every request before it stores anything; the function waits until several wait, and releases all."""
    with sessions() as holder, sessions() as observer:
        holder.execute(text("LOCK TABLE thread IN SHARE MODE"))

        def release() -> None:
            waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'thread'::regclass")
            eventually(lambda: observer.execute(waiting).scalar_one() >= 4)
            holder.rollback()

        yield release


def test_message_is_stored_with_its_photo_and_without_its_text(
    api: TestClient, pusher: Headers, rows: Rows, services: WorkerServices, jpeg: Callable[..., bytes]
) -> None:
    photo = jpeg(1)

    answer = api.post("/fhir/Communication", headers=pusher, json=_message(_attachment(photo), language="es-MX"))

    assert answer.status_code == 201
    resource = answer.json()
    assert answer.headers["location"] == f"http://testserver/fhir/Communication/{resource['id']}"
    assert (answer.headers["etag"], resource["meta"]["versionId"]) == ('W/"1"', "1")
    [(source, external_id, role, locale, id_)] = rows("SELECT source, external_id, role, locale, id FROM message")
    assert (source, external_id, role, locale) == ("fhir-push", f"Communication/{resource['id']}", "patient", "es-MX")
    assert rows("SELECT external_id, sha256, error_code FROM attachment") == [("payload/1", sha256_of(photo), None)]
    assert services.blobs.get(sha256_of(photo)) == photo
    with services.sessions() as session:
        assert origins.load(session, [id_])[id_] == Origin("Patient/7", "Patient/7", None)
    assert not {"itches", "Ana", "1.2.3", "m-1"} & set(answer.text.replace('"', " ").split())


def test_message_is_read_as_it_is_stored(api: TestClient, pusher: Headers, jpeg: Callable[..., bytes]) -> None:
    message = _message(_attachment(jpeg(1)), partOf=[{"reference": "Communication/topic"}])
    created = api.post("/fhir/Communication", headers=pusher, json=message)

    answer = api.get(created.headers["location"], headers=pusher)

    assert (answer.status_code, answer.json()) == (200, created.json())
    assert answer.headers["etag"] == created.headers["etag"]
    assert answer.json()["partOf"] == [{"reference": "Communication/topic"}]
    assert [each["code"] for each in answer.json()["meta"]["tag"]] == ["SUBSETTED"]


@pytest.mark.parametrize(
    "condition",
    [
        None,
        "identifier=urn:oid:1.2.3|m-1",
        "identifier=urn%3Aoid%3A1.2.3%7Cm-1",
        "Communication?identifier=m-1",
    ],
)
def test_message_that_is_sent_again_has_no_effect(
    api: TestClient, pusher: Headers, rows: Rows, jpeg: Callable[..., bytes], condition: str | None
) -> None:
    headers = pusher | ({"If-None-Exist": condition} if condition else {})

    answers = [api.post("/fhir/Communication", headers=headers, json=_message(_attachment(jpeg(1)))) for _ in range(3)]

    assert [each.status_code for each in answers] == [201, 200, 200]
    assert len({each.text for each in answers}) == 1
    assert rows("SELECT count(*) FROM attachment") == [(1,)]


def test_existing_message_stays_as_it_is_when_the_create_is_conditional(
    api: TestClient, pusher: Headers, rows: Rows, jpeg: Callable[..., bytes]
) -> None:
    headers = pusher | {"If-None-Exist": "identifier=urn:oid:1.2.3|m-1"}
    api.post("/fhir/Communication", headers=headers, json=_message(_attachment(jpeg(1))))

    more = _message(_attachment(jpeg(1)), _attachment(jpeg(2)))
    answer = api.post("/fhir/Communication", headers=headers, json=more)

    assert (answer.status_code, answer.headers["etag"]) == (200, 'W/"1"')
    assert rows("SELECT count(*) FROM attachment") == [(1,)]


def test_update_creates_adds_photos_and_withdraws(
    api: TestClient, pusher: Headers, rows: Rows, jpeg: Callable[..., bytes]
) -> None:
    def put(*photos: bytes, **fields: Any) -> tuple[int, str]:
        message = _message(*map(_attachment, photos), id="a.1", **fields)
        answer = api.put("/fhir/Communication/a.1", headers=pusher, json=message)
        return answer.status_code, answer.headers["etag"]

    first, second = jpeg(1), jpeg(2)
    assert put(first) == (201, 'W/"1"')
    assert put(first) == (200, 'W/"1"')
    assert put(first, second) == (200, 'W/"2"')
    assert put(first, status="entered-in-error") == (200, 'W/"3"')

    assert rows("SELECT external_id, opted_out FROM message") == [("Communication/a.1", True)]
    assert rows("SELECT count(*) FROM attachment") == [(2,)]


@pytest.mark.parametrize(
    ("header", "value", "status"),
    [
        ("If-Match", 'W/"1"', 200),
        ("If-Match", '"0", "1"', 200),
        ("If-Match", "*", 200),
        ("If-Match", 'W/"2"', 412),
        ("If-Match", "1", 412),
        ("If-None-Match", "*", 412),
    ],
)
def test_update_depends_on_the_version_when_the_client_names_one(
    api: TestClient,
    pusher: Headers,
    rows: Rows,
    jpeg: Callable[..., bytes],
    header: str,
    value: str,
    status: int,
) -> None:
    first = _message(_attachment(jpeg(1)), id="a")
    assert api.put("/fhir/Communication/a", headers=pusher, json=first).status_code == 201
    more = _message(_attachment(jpeg(1)), _attachment(jpeg(2)), id="a")

    answer = api.put("/fhir/Communication/a", headers=pusher | {header: value}, json=more)

    assert answer.status_code == status
    assert rows("SELECT count(*) FROM attachment") == [(2 if status == 200 else 1,)]
    if status == 412:
        assert answer.json()["issue"][0]["details"]["coding"][0]["code"] == "precondition_failed"


def test_unknown_message_does_not_match_any_version(api: TestClient, pusher: Headers, rows: Rows) -> None:
    message = _message(_attachment(b"photo"), id="a")

    answer = api.put("/fhir/Communication/a", headers=pusher | {"If-Match": "*"}, json=message)

    assert (answer.status_code, rows("SELECT count(*) FROM message")) == (412, [(0,)])


@pytest.mark.parametrize(
    ("method", "path", "condition", "others"),
    [
        ("PUT", "Communication/a", {"If-None-Match": "*"}, 412),
        ("PUT", "Communication/a", {}, 200),
        ("POST", "Communication", {"If-None-Exist": "identifier=urn:oid:1.2.3|m-1"}, 200),
        ("POST", "Communication", {}, 200),
    ],
)
def test_one_of_several_requests_creates_a_message_when_they_race(
    api: TestClient,
    pusher: Headers,
    rows: Rows,
    sessions: Sessions,
    jpeg: Callable[..., bytes],
    method: str,
    path: str,
    condition: Headers,
    others: int,
) -> None:
    """All that are processed at the same time have found no message before one of them stores it."""

    photos = [_attachment(jpeg(number)) for number in range(8)]

    def send(number: int) -> int:
        message = _message(*photos[: number + 1], id="a")
        return api.request(method, f"/fhir/{path}", headers=pusher | condition, json=message).status_code

    with _racing(sessions) as race, ThreadPoolExecutor(8) as pool:
        sent = [pool.submit(send, number) for number in range(8)]
        race()
        statuses = [each.result() for each in sent]

    assert sorted(statuses) == sorted([201, *[others] * 7])
    assert rows("SELECT count(*) FROM message") == [(1,)]
    n_stored = statuses.index(201) + 1 if condition else len(photos)
    assert rows("SELECT count(*) FROM attachment") == [(n_stored,)]


def test_one_of_several_updates_of_a_version_succeeds_when_they_race(
    api: TestClient, pusher: Headers, rows: Rows, sessions: Sessions, jpeg: Callable[..., bytes]
) -> None:
    def put(number: int, **headers: str) -> int:
        photos = [_attachment(jpeg(0)), _attachment(jpeg(number))][: number + 1]
        answer = api.put("/fhir/Communication/a", headers=pusher | headers, json=_message(*photos, id="a"))
        return answer.status_code

    assert put(0) == 201
    with _racing(sessions) as race, ThreadPoolExecutor(8) as pool:
        sent = [pool.submit(put, number, **{"If-Match": 'W/"1"'}) for number in range(1, 9)]
        race()
        statuses = [each.result() for each in sent]

    assert sorted(statuses) == [200, *[412] * 7]
    assert rows("SELECT count(*) FROM attachment") == [(2,)]


def test_one_of_several_withdrawals_of_a_version_succeeds_when_they_race(
    api: TestClient, pusher: Headers, rows: Rows, sessions: Sessions, jpeg: Callable[..., bytes]
) -> None:
    def put(*photos: dict[str, Any], headers: Headers, **fields: Any) -> int:
        message = _message(*photos, id="a", **fields)
        return api.put("/fhir/Communication/a", headers=pusher | headers, json=message).status_code

    assert put(_attachment(jpeg(0)), headers={}) == 201
    with sessions() as holder, sessions() as observer, ThreadPoolExecutor(2) as pool:
        holder.execute(text("SELECT 1 FROM thread FOR UPDATE"))
        sent = [pool.submit(put, headers={"If-Match": 'W/"1"'}, status="entered-in-error") for _ in range(2)]
        waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
        eventually(lambda: observer.execute(waiting).scalar_one() >= 2)
        holder.rollback()
        statuses = [each.result() for each in sent]

    assert sorted(statuses) == [200, 412]
    assert rows("SELECT opted_out FROM message") == [(True,)]


def test_photo_whose_link_is_refused_is_kept_with_an_error_code(
    api: TestClient, pusher: Headers, rows: Rows, services: WorkerServices, httpserver: HTTPServer
) -> None:
    link = httpserver.url_for("/expired.jpg")
    httpserver.expect_request("/expired.jpg").respond_with_data("", 403)
    uris = UriPolicy([httpserver.url_for("/")], max_bytes=9, local_networks=[ip_network("127.0.0.0/8")])
    object.__setattr__(services.push, "uris", uris)

    message = _message({"contentAttachment": {"contentType": "image/jpeg", "url": link}})
    answer = api.post("/fhir/Communication", headers=pusher, json=message)

    assert answer.status_code == 201
    assert rows("SELECT error_code FROM attachment") == [("fetch_failed",)]


@pytest.mark.parametrize(
    ("preference", "kind"),
    [
        ("return=minimal", None),
        ("return=representation", "Communication"),
        ("respond-async, return=OperationOutcome", "OperationOutcome"),
    ],
)
def test_answer_is_what_the_client_prefers(
    api: TestClient, pusher: Headers, jpeg: Callable[..., bytes], preference: str, kind: str | None
) -> None:
    headers = pusher | {"Prefer": preference}

    answer = api.post("/fhir/Communication", headers=headers, json=_message(_attachment(jpeg(1))))

    assert (answer.status_code, answer.headers["etag"]) == (201, 'W/"1"')
    assert (answer.json()["resourceType"] if answer.content else None) == kind


@pytest.mark.parametrize(
    "changes",
    [
        {"sender": {"reference": "Practitioner/1"}},
        {"sender": {"type": "Device", "display": "skin-photo-triage"}},
        {"sender": None},
        {"status": "preparation"},
        {"status": "entered-in-error"},
        {"payload": [{"contentString": "no photo"}]},
    ],
)
def test_nothing_is_stored_when_nothing_follows_from_the_message(
    api: TestClient, pusher: Headers, rows: Rows, changes: dict[str, Any]
) -> None:
    message = {name: value for name, value in (_message(_attachment(b"1")) | changes).items() if value is not None}

    answer = api.post("/fhir/Communication", headers=pusher, json=message)

    assert (answer.status_code, answer.json()["issue"][0]["severity"]) == (200, "information")
    assert rows("SELECT count(*) FROM message") == [(0,)]


def test_author_is_known_by_the_type_of_a_logical_reference(api: TestClient, pusher: Headers, rows: Rows) -> None:
    sender = {"type": "RelatedPerson", "identifier": {"system": "urn:mrn", "value": "4711"}}

    answer = api.post("/fhir/Communication", headers=pusher, json=_message(_attachment(b"1"), sender=sender))

    assert answer.status_code == 201
    assert rows("SELECT role, author FROM message JOIN origin ON message_id = id") == [("related-person", None)]


def test_photo_is_kept_with_an_error_code_when_it_cannot_be_read(
    api: TestClient, pusher: Headers, rows: Rows, settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "incoming").mkdir()
    (tmp_path / "incoming" / "1.jpg").write_bytes(b"photo 1")
    allowed = f"{settings.intake.uri_roots[0]}/1.jpg"
    payload: list[dict[str, Any]] = [
        {"contentAttachment": {"contentType": "image/jpeg", "url": allowed, "size": 7}},
        {"contentAttachment": {"contentType": "image/jpeg", "url": allowed, "size": 8}},
        {"contentAttachment": {"contentType": "image/jpeg", "url": "file:///etc/passwd"}},
        {"contentAttachment": {"contentType": "image/jpeg", "url": "http://169.254.169.254/latest"}},
        {"contentAttachment": {"contentType": "image/jpeg", "data": "?"}},
        {"contentReference": {"reference": "Binary/elsewhere"}},
        _attachment(b"photo 2", hash="AAAA"),
    ]

    headers = pusher | {"Prefer": "return=OperationOutcome"}
    answer = api.post("/fhir/Communication", headers=headers, json=_message(*payload))

    assert answer.status_code == 201
    assert [row[0] for row in rows("SELECT error_code FROM attachment ORDER BY external_id")] == [
        "not_found",
        None,
        "altered",
        "uri_not_allowed",
        "uri_not_allowed",
        "corrupt",
        "altered",
    ]
    assert "photo 2: altered" in [each["diagnostics"] for each in answer.json()["issue"]]


def test_transaction_stores_messages_with_what_they_refer_to(
    api: TestClient, pusher: Headers, rows: Rows, jpeg: Callable[..., bytes]
) -> None:
    photos = [jpeg(number) for number in range(4)]
    binaries = [
        {"resourceType": "Binary", "contentType": "image/jpeg", "data": base64.b64encode(photo).decode()}
        for photo in photos
    ]
    media = {"resourceType": "Media", "id": "q", "status": "completed", "content": {"url": "#b"}}
    contained = [media, binaries[3] | {"id": "b"}]
    document = {
        "resourceType": "DocumentReference",
        "status": "current",
        "content": [{"attachment": {"contentType": "image/jpeg", "url": "urn:uuid:1"}}],
    }
    first = _message(
        {"contentReference": {"reference": "urn:uuid:2"}},
        {"contentReference": {"reference": "Binary/b-1"}},
        {"contentReference": {"reference": "#q"}},
        contained=contained,
    )
    second = _message(
        {"contentReference": {"reference": "https://engine.example/fhir/Binary/7"}},
        id="m-2",
        inResponseTo=[{"reference": "urn:uuid:3"}],
    )
    bundle = _transaction(
        _entry(second, method="PUT", url="Communication/m-2"),
        _entry(binaries[0], "urn:uuid:1"),
        _entry(document, "urn:uuid:2"),
        _entry(first, "urn:uuid:3", ifNoneExist="identifier=urn:oid:1.2.3|m-1"),
        _entry(binaries[1], method="PUT", url="Binary/b-1"),
        _entry(binaries[2], "https://engine.example/fhir/Binary/7"),
    )

    answers = [api.post(base, headers=pusher, json=bundle) for base in ("/fhir", "/fhir/")]

    assert [each.status_code for each in answers] == [200, 200]
    statuses = [[each["response"]["status"][:3] for each in answer.json()["entry"]] for answer in answers]
    assert statuses == [["201", "200", "200", "201", "200", "200"], ["200"] * 6]
    stored = rows("SELECT sha256 FROM attachment JOIN message m ON m.id = message_id ORDER BY m.external_id, 1")
    assert {row[0] for row in stored} == set(map(sha256_of, photos))
    assert len(stored) == 4
    assert rows("SELECT count(*) FROM thread") == [(1,)]
    names = [each["response"].get("location") for each in answers[0].json()["entry"]]
    assert names[0] == "Communication/m-2"
    assert api.get(f"/fhir/{names[3]}", headers=pusher).status_code == 200


def test_transaction_answers_with_resources_when_the_client_prefers_them(
    api: TestClient, pusher: Headers, jpeg: Callable[..., bytes]
) -> None:
    bundle = _transaction(_entry(_message(_attachment(jpeg(1)))))

    answer = api.post("/fhir", headers=pusher | {"Prefer": "return=representation"}, json=bundle)

    [entry] = answer.json()["entry"]
    assert entry["resource"]["id"] == entry["response"]["location"].removeprefix("Communication/")


def test_thread_goes_on_when_a_later_message_replies(
    api: TestClient, pusher: Headers, rows: Rows, jpeg: Callable[..., bytes]
) -> None:
    """Through three requests, each of which names the previous message only."""
    for number, previous in (("1", None), ("2", "1"), ("3", "2")):
        replies = [{"reference": f"Communication/{previous}"}] if previous else []
        message = _message(_attachment(jpeg(int(number))), id=number, inResponseTo=replies)
        assert api.put(f"/fhir/Communication/{number}", headers=pusher, json=message).status_code == 201

    assert rows("SELECT external_id FROM thread") == [("Communication/1",)]


def test_request_is_answered_when_the_message_is_based_on_it(
    api: TestClient, pusher: Headers, services: WorkerServices, rows: Rows, jpeg: Callable[..., bytes]
) -> None:
    api.put("/fhir/Communication/1", headers=pusher, json=_message(_attachment(jpeg(1)), id="1"))
    request_id = flag(services.sessions, "Communication/1")
    based_on = [{"type": "CommunicationRequest", "identifier": {"system": REQUEST_ID, "value": str(request_id)}}]

    answer = api.post("/fhir/Communication", headers=pusher, json=_message(_attachment(jpeg(2)), basedOn=based_on))

    assert answer.status_code == 201
    assert rows("SELECT status, answered_at IS NOT NULL FROM retake_request") == [("withdrawn", True)]
    assert rows("SELECT actor FROM audit_event WHERE action = 'retake.answered'") == [("engine",)]


def test_answer_is_recorded_later_when_a_fault_prevented_it(
    api: TestClient, pusher: Headers, services: WorkerServices, rows: Rows, jpeg: Callable[..., bytes]
) -> None:
    """The server was killed after the message was committed and before its answer was: the client repeats."""
    api.put("/fhir/Communication/1", headers=pusher, json=_message(_attachment(jpeg(1)), id="1"))
    request_id = flag(services.sessions, "Communication/1")
    headers = pusher | {"If-None-Exist": "identifier=urn:oid:1.2.3|m-1"}
    message = _message(_attachment(jpeg(2)))
    api.post("/fhir/Communication", headers=headers, json=message)
    based_on = [{"identifier": {"system": REQUEST_ID, "value": str(request_id)}}]

    answer = api.post("/fhir/Communication", headers=headers, json=message | {"basedOn": based_on})

    assert answer.status_code == 200
    assert rows("SELECT answered_at IS NOT NULL FROM retake_request") == [(True,)]
    assert rows("SELECT count(*) FROM message") == [(2,)]


TWICE = _message(_attachment(b"1"))
REFUSED: list[tuple[dict[str, Any], int]] = [
    ({"resourceType": "Bundle", "type": "batch", "entry": [_entry(TWICE)]}, 422),
    (_transaction(*[_entry({"resourceType": "Binary"})] * 501), 422),
    (_transaction(*(_entry(TWICE | {"identifier": [{"value": str(n)}]}) for n in range(101))), 422),
    (_transaction(_entry(TWICE), _entry(TWICE)), 422),
    (_transaction(_entry({"resourceType": "Binary"}, "urn:1"), _entry({"resourceType": "Media"}, "urn:1")), 422),
    (_transaction(_entry({"resourceType": "Patient"})), 422),
    (_transaction(_entry({"resourceType": "Binary"}, method="DELETE", url="Binary/1")), 422),
    (_transaction(_entry({"resourceType": "Binary"}, url="Media")), 400),
    (_transaction(_entry(TWICE, url="Communication", ifNoneExist="identifier=other")), 400),
    (_transaction(_entry(TWICE | {"id": "1"}, method="PUT", url="Communication/2")), 400),
    (_transaction(_entry(TWICE), _entry({"resourceType": "Communication"})), 400),
    (_transaction({"resource": TWICE}), 400),
    ({"resourceType": "Parameters"}, 400),
]


@pytest.mark.parametrize(("bundle", "status"), REFUSED)
def test_transaction_is_refused_whole(
    api: TestClient, pusher: Headers, rows: Rows, bundle: dict[str, Any], status: int
) -> None:
    answer = api.post("/fhir", headers=pusher, json=bundle)

    assert (answer.status_code, answer.json()["resourceType"]) == (status, "OperationOutcome")
    assert rows("SELECT count(*) FROM message") == [(0,)]


def test_request_is_refused_whole_when_its_photos_are_too_many_or_too_large_together(
    api: TestClient, pusher: Headers, rows: Rows, services: WorkerServices
) -> None:
    services.push = replace(services.push, max_bytes=100)
    binary = _entry({"resourceType": "Binary", "data": base64.b64encode(bytes(30)).decode()}, "urn:1")
    part = {"contentReference": {"reference": "urn:1"}}
    messages = [_entry(_message(part, part, identifier=[{"value": name}])) for name in "ab"]

    answer = api.post("/fhir", headers=pusher, json=_transaction(binary, *messages))
    many = api.post("/fhir/Communication", headers=pusher, json=_message(*[_attachment(b"1")] * 21))

    assert (answer.status_code, answer.json()["issue"][0]["code"]) == (413, "too-long")
    assert (many.status_code, many.json()["issue"][0]["code"]) == (400, "invalid")
    assert rows("SELECT count(*) FROM message") == [(0,)]


def test_messages_that_answer_each_other_in_a_circle_are_stored(api: TestClient, pusher: Headers, rows: Rows) -> None:
    def entry(name: str, other: str) -> dict[str, Any]:
        identifier = [{"value": name}]
        replies = [{"reference": other}]
        return _entry(_message(_attachment(b"1"), identifier=identifier, inResponseTo=replies), name)

    answer = api.post("/fhir", headers=pusher, json=_transaction(entry("urn:1", "urn:2"), entry("urn:2", "urn:1")))

    assert (answer.status_code, rows("SELECT count(*) FROM message")) == (200, [(2,)])


def test_transaction_needs_the_scope_of_each_interaction(
    api: TestClient, as_client: Callable[..., Headers], rows: Rows
) -> None:
    headers = as_client(Scope.FHIR_CREATE, name="creator") | FHIR
    bundle = _transaction(_entry(_message(_attachment(b"1"), id="1"), method="PUT", url="Communication/1"))

    answer = api.post("/fhir", headers=headers, json=bundle)

    assert (answer.status_code, rows("SELECT count(*) FROM message")) == (403, [(0,)])


def test_bodies_of_a_megabyte_of_nesting_are_refused(api: TestClient, pusher: Headers) -> None:
    nested = b'{"resourceType": "Communication", "status": "completed", "payload": ' + b"[" * 500_000
    deep = json.dumps(_message(contained=[{"a": _nested(900)}]))

    assert api.post("/fhir/Communication", headers=pusher, content=nested).status_code == 400
    assert api.post("/fhir/Communication", headers=pusher, content=deep).status_code == 200


def _nested(depth: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for _ in range(depth):
        found = {"a": found}
    return found
