"""An EHR's server that is slow, busy, broken or refuses: no message is lost, and none is asked for too often."""

import json
import re
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import ECKey
from pydantic import SecretStr
from pytest_httpserver import HTTPServer
from sqlalchemy import text
from werkzeug import Request, Response

import worker.fhir.server.bodies
from tests.support.services import make_settings
from triage.arrivals import manage
from triage.arrivals.announce import notify
from triage.arrivals.reading import PATIENCE
from worker.app import create_app
from worker.doctor.problems import ProblemError
from worker.doctor.systems import check_fhir_server
from worker.fhir.server.bodies import JSON
from worker.fhir.server.errors import FhirRefusedError
from worker.queues import TaskName
from worker.settings import FhirSettings
from worker.state_folder import StateFolder
from worker.tasks.base import WorkerServices, services_of

Answer = Callable[[Request], Response]

MESSAGE, PHOTO, SEARCH, SUBSCRIPTION, TOKEN = (
    "/fhir/Communication/",
    "/fhir/Binary/",
    "/fhir/Communication",
    "/fhir/Subscription",
    "/token",
)


_ID = re.compile(r"([0-9]+|[0-9a-f-]{36})$")


def _communication(number: int) -> dict[str, Any]:
    return {
        "resourceType": "Communication",
        "id": str(number),
        "meta": {"versionId": "1"},
        "status": "completed",
        "sender": {"reference": "Patient/7"},
        "payload": [{"contentReference": {"reference": f"Binary/{number}"}}],
    }


def _json(resource: object, status: int = 200) -> Response:
    return Response(json.dumps(resource), status, content_type=JSON)


def _found(*resources: object) -> Response:
    return _json({"resourceType": "Bundle", "entry": [{"resource": each} for each in resources]})


@dataclass
class Hospital:
    """A server with any message by its number.

    Attributes:
        newest: the message that a search finds.
        faults: answers instead of the right ones, by path without a number.
        asked: the number of requests by path without a number.
        subscriptions: that were created.
        expires: whether each request needs a new token.
    """

    server: HTTPServer
    newest: int = 1
    faults: dict[str, Answer] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)
    subscriptions: list[Any] = field(default_factory=list)
    expires: bool = False

    def answer(self, request: Request) -> Response:
        number = request.path.removeprefix(path := _ID.sub("", request.path))
        self.asked[path] += 1
        if path in self.faults:
            return self.faults[path](request)
        match path:
            case "/fhir/.well-known/smart-configuration":
                return _json({"token_endpoint": self.server.url_for("/token")})
            case "/token" if self.expires:
                return _json({"access_token": "t", "expires_in": 0})
            case "/token":
                return _json({"access_token": "t", "expires_in": 300})
            case "/fhir/metadata":
                return _json({"resourceType": "CapabilityStatement", "fhirVersion": "4.0.1"})
            case "/fhir/Communication/" if number.isdigit():
                return _json(_communication(int(number)))
            case "/fhir/Binary/":
                return Response(b"photo", content_type="image/jpeg")
            case "/fhir/Communication":
                is_ahead = not request.args["_lastUpdated"].startswith("ge2026")
                return _found() if is_ahead else _found(_communication(self.newest))
            case "/fhir/Subscription" if request.method == "POST":
                self.subscriptions.append(request.get_json(force=True) | {"id": "1"})
                return _json(self.subscriptions[-1], 201)
            case "/fhir/Subscription":
                return _found(*self.subscriptions)
        return _json({"resourceType": "OperationOutcome", "issue": [{"code": "not-found"}]}, 404)


@pytest.fixture
def hospital(httpserver: HTTPServer) -> Hospital:
    found = Hospital(httpserver)
    httpserver.expect_request(re.compile("/.*")).respond_with_handler(found.answer)
    return found


@dataclass
class Site:
    """A delivery worker whose settings name the server."""

    services: WorkerServices

    def collect(self) -> None:
        self.services.celery.tasks[TaskName.COLLECT]()

    def announce(self, number: int = 1) -> None:
        notify(self.services.sessions, "fhir", [f"Communication/{number}"])

    def query(self, sql: str) -> list[Any]:
        with self.services.sessions() as session:
            return list(session.execute(text(sql)))

    def wait(self) -> None:
        """As if all delays were over."""
        with self.services.sessions.begin() as session:
            session.execute(text("UPDATE arrival SET due_at = now()"))
            session.execute(text("UPDATE arrival_source SET due_at = now()"))

    @property
    def photos(self) -> list[str | None]:
        """The error code of each photo that was accepted."""
        return [row.error_code for row in self.query("SELECT error_code FROM attachment")]

    @property
    def states(self) -> list[str]:
        return [row.status for row in self.query("SELECT status FROM arrival")]


MakeSite = Callable[..., Site]


@pytest.fixture
def make_site(embedded: StateFolder, database: str, tmp_path: Path, hospital: Hospital) -> Iterator[MakeSite]:
    key_file = tmp_path / "key.pem"
    key_file.write_bytes(ECKey.generate_key("P-384").as_pem(private=True))
    opened: list[WorkerServices] = []

    def make(**more: Any) -> Site:
        fhir = FhirSettings(
            url=hospital.server.url_for("/fhir"), client_id="triage", key_file=key_file, timeout_seconds=1, **more
        )
        settings = make_settings(embedded, database, tmp_path).model_copy(update={"fhir": fhir})
        opened.append(services_of(create_app(settings)))
        return Site(opened[-1])

    yield make
    for each in opened:
        each.close()


def _status(status: int, **headers: str) -> Answer:
    return lambda _: Response(status=status, headers={k.replace("_", "-"): v for k, v in headers.items()})


def _slow(_: Request) -> Response:
    def body() -> Iterator[bytes]:
        time.sleep(3)
        yield b"{}"

    return Response(body(), content_type=JSON)


def _cut_off(_: Request) -> Response:
    return Response(iter([b"{"]), headers={"Content-Length": "1000", "Content-Type": JSON})


def _chunk_cut_off(request: Request) -> Response:
    def body() -> Iterator[bytes]:
        yield b'{"resourceType": "Communication", '
        request.environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
        yield b" "

    return Response(body(), content_type=JSON)


def _page(_: Request) -> Response:
    return Response("<h1>Log in</h1>", content_type="text/html")


FAULTS = {
    "page of a proxy": _page,
    "slow": _slow,
    "busy": _status(429, Retry_After="600"),
    "broken": _status(500),
    "down": _status(503, Retry_After="600"),
    "cut off": _cut_off,
    "chunk cut off": _chunk_cut_off,
}


@pytest.mark.parametrize("path", [MESSAGE, PHOTO, SEARCH, TOKEN])
def test_message_waits_and_is_accepted_once_when_the_server_fails(
    make_site: MakeSite, hospital: Hospital, path: str
) -> None:
    site = make_site(poll_query="Communication" if path == SEARCH else None)
    hospital.expires = path == TOKEN
    for number, (fault, answer) in enumerate(FAULTS.items(), start=1):
        hospital.newest = number
        if path != SEARCH:
            site.announce(number)
        hospital.faults, hospital.asked = {path: answer}, Counter()

        for _ in range(3):
            site.collect()  # all but the first find nothing that is due

        is_repeated = path in {TOKEN, PHOTO}  # a malformed token once more, and a photo that is a text as JSON
        assert hospital.asked[path] <= (2 if is_repeated else 1), fault
        assert len(site.photos) == number - 1, fault
        if fault in {"busy", "down"}:
            table = "arrival_source" if path == SEARCH else "arrival WHERE status = 'pending'"
            [row] = site.query(f"SELECT due_at - clock_timestamp() AS delay FROM {table}")
            assert timedelta(minutes=9) < row.delay <= timedelta(minutes=10)

        hospital.faults = {}
        for _ in range(2):
            site.wait()
            site.collect()
        assert site.photos == [None] * number, fault
        assert site.states == ["done"] * number
        site.wait()


@pytest.mark.parametrize("path", [MESSAGE, PHOTO, SEARCH])
def test_all_messages_wait_when_no_token_is_accepted(make_site: MakeSite, hospital: Hospital, path: str) -> None:
    site = make_site(poll_query="Communication")
    site.announce()
    hospital.faults[path] = _status(401)
    site.collect()
    assert path == SEARCH or site.states == ["pending"]

    del hospital.faults[path]
    site.wait()
    site.collect()

    assert site.photos == [None]


def test_all_messages_wait_when_none_may_be_read(make_site: MakeSite, hospital: Hospital) -> None:
    site = make_site(poll_query="Communication")
    site.announce()
    hospital.faults |= {MESSAGE: _status(403), SEARCH: _status(403)}
    site.collect()

    assert site.states == ["pending"]
    with pytest.raises(FhirRefusedError):
        check_fhir_server(site.services)


def test_all_messages_wait_when_none_may_be_read_and_none_is_searched(make_site: MakeSite, hospital: Hospital) -> None:
    site = make_site()
    site.announce()
    hospital.faults[MESSAGE] = _status(403)
    site.collect()

    assert site.states == ["pending"]
    with pytest.raises(FhirRefusedError, match="gives this client no message"):
        check_fhir_server(site.services)


def test_message_that_may_not_be_read_is_dead_until_an_operator_retries_it(
    make_site: MakeSite, hospital: Hospital
) -> None:
    site = make_site(poll_query="Communication")
    hospital.faults[MESSAGE] = _status(403)
    for _ in range(3):
        site.wait()
        site.collect()
    assert site.states == ["dead"]
    assert hospital.asked[MESSAGE] == 1  # the search finds it each time

    del hospital.faults[MESSAGE]
    manage.retry(site.services.sessions, by="op-1")
    site.collect()

    assert site.photos == [None]


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (_status(403), "fetch_failed"),
        (_status(422), "fetch_failed"),
        (lambda _: Response(bytes(2**20), content_type="image/jpeg"), "too_large"),
    ],
)
def test_message_is_accepted_without_a_photo_that_cannot_be_had(
    make_site: MakeSite, hospital: Hospital, answer: Answer, code: str
) -> None:
    site = make_site()
    object.__setattr__(site.services.inbound.server, "max_bytes", 2**19)
    site.announce()
    hospital.faults[PHOTO] = answer
    while site.states == ["pending"]:
        site.collect()
        site.wait()

    assert site.photos == [code]
    assert hospital.asked[PHOTO] == (1 if code == "too_large" else PATIENCE)


def test_message_is_dead_when_its_answer_is_too_long(
    make_site: MakeSite, hospital: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = make_site()
    site.announce()
    monkeypatch.setattr(worker.fhir.server.bodies, "MAX_JSON_BYTES", 100)
    site.collect()
    assert site.states == ["dead"]

    monkeypatch.undo()
    manage.retry(site.services.sessions, by="op-1")
    site.collect()
    assert site.photos == [None]


def test_subscription_is_created_when_the_search_fails(make_site: MakeSite, hospital: Hospital) -> None:
    site = make_site(poll_query="Communication", hook_url="https://triage.example/fhir-hook", hook_key=SecretStr("k"))
    site.announce()
    hospital.faults[SEARCH] = _status(400)
    for _ in range(2):
        site.wait()
        site.collect()

    assert len(hospital.subscriptions) == 1
    assert site.photos == [None]


def test_message_is_searched_and_read_when_no_subscription_can_be_made(make_site: MakeSite, hospital: Hospital) -> None:
    site = make_site(poll_query="Communication", hook_url="https://triage.example/fhir-hook", hook_key=SecretStr("k"))
    hospital.faults[SUBSCRIPTION] = lambda _: _found(
        {"status": "off", "channel": {"endpoint": "https://triage.example/fhir-hook"}}
    )
    site.collect()

    assert site.photos == [None]


def test_doctor_reports_a_search_that_reads_all(make_site: MakeSite, hospital: Hospital) -> None:
    site = make_site(poll_query="Communication")
    assert check_fhir_server(site.services) == "serves 4.0.1 and gives tokens"
    hospital.faults[SEARCH] = lambda _: _found(_communication(1))

    with pytest.raises(ProblemError, match="ignores the cursor"):
        check_fhir_server(site.services)
