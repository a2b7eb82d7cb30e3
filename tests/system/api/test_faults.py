"""A real server process against clients that stall, cut off and crowd, and against its own death."""

import signal
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import text

from tests.support.certificates import make_certificate
from tests.support.deployment import eventually
from tests.support.served import SERVE, Served, start
from triage.domain.messages import IncomingAttachment, IncomingMessage
from triage.domain.states import Outcome
from triage.files.hashing import sha256_of
from triage.retakes.override import override

pytestmark = pytest.mark.long

BOUNDARY = b"part-of-a-form"
MESSAGE = b'{"source": "ehr", "message_id": "m-1"}'
HEAD = (
    b"--" + BOUNDARY + b'\r\nContent-Disposition: form-data; name="message"\r\n\r\n' + MESSAGE + b"\r\n"
    b"--" + BOUNDARY + b'\r\nContent-Disposition: form-data; name="photo"; filename="Erika.jpg"\r\n\r\n'
)
END = b"\r\n--" + BOUNDARY + b"--\r\n"
IDLE_SECONDS = 1


@pytest.fixture(scope="module")
def served(serve: Callable[..., Any]) -> Iterator[Served]:
    with serve(API__IDLE_SECONDS=str(IDLE_SECONDS), API__MAX_REQUESTS_PER_CLIENT="3") as served:
        yield served


def connect(served: Served) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", served.port), timeout=60)
    connection.settimeout(60)
    return connection


def head_of_upload(served: Served, length: int) -> bytes:
    lines = (
        "POST /v1/messages HTTP/1.1",
        "Host: 127.0.0.1",
        f"Authorization: Bearer {served.key}",
        f"Content-Type: multipart/form-data; boundary={BOUNDARY.decode()}",
        f"Content-Length: {length}",
    )
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def read_to_end(connection: socket.socket) -> bytes:
    received = b""
    while piece := connection.recv(65536):
        received += piece
    return received


def stored_files(served: Served) -> list[str]:
    folder = served.services.blobs.folder
    assert folder is not None
    return sorted(path.name for path in folder.rglob("*") if path.is_file() and path.name != "triage-store-id")


def test_process_does_not_load_torch(served: Served) -> None:
    with served.client() as client:
        assert client.get("/v1/report").status_code == 200
    assert "torch" not in Path(f"/proc/{served.process.pid}/maps").read_text(encoding="utf-8")


def test_half_sent_body_is_answered_and_cut_off(served: Served) -> None:
    body = HEAD + b"x" * 100_000 + END
    before = stored_files(served)
    with connect(served) as connection:
        connection.sendall(head_of_upload(served, len(body)) + body[:50_000])
        answer = read_to_end(connection)

    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"code":"timed_out"' in answer
    assert stored_files(served) == before


@pytest.mark.parametrize("sent", [b"", b"GET /livez HTTP/1.1\r\nHost: a\r\n", b"\x16\x03\x01 not http\r\n\r\n"])
def test_connection_without_a_whole_head_is_closed(sent: bytes, served: Served) -> None:
    with connect(served) as connection:
        connection.sendall(sent)
        assert read_to_end(connection)[:12] in {b"", b"HTTP/1.1 400"}


def drip(connection: socket.socket) -> int:
    """Sends the head of a request byte by byte; returns how many the server took."""
    connection.settimeout(0.05)
    head = b"GET /livez HTTP/1.1\r\nX: " + b"x" * 100_000
    for sent, byte in enumerate(head):
        try:
            connection.sendall(bytes([byte]))
            if connection.recv(1) == b"":
                return sent
        except TimeoutError:
            pass
        except OSError:
            return sent
    return len(head)


def test_head_that_arrives_byte_by_byte_does_not_last(served: Served) -> None:
    """Each byte is quick, so a limit between two bytes would never end."""
    with connect(served) as connection:
        assert drip(connection) < 1000


def test_requests_are_answered_beside_200_idle_connections_which_end(served: Served) -> None:
    idle = [connect(served) for _ in range(200)]
    with served.client() as client:
        assert client.get("/v1/retakes").status_code == 200
    for connection in idle:
        assert read_to_end(connection) == b""
        connection.close()


def test_connections_beyond_the_limit_are_closed_at_once(serve: Callable[..., Any]) -> None:
    with serve(API__MAX_CONNECTIONS="3") as served:
        kept = [connect(served) for _ in range(3)]
        for _ in range(5):
            with connect(served) as beyond:
                assert read_to_end(beyond) == b""
        for connection in kept:
            connection.sendall(b"GET /livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            assert read_to_end(connection).startswith(b"HTTP/1.1 200 ")
            connection.close()


def test_client_with_too_many_requests_is_told_to_retry(served: Served) -> None:
    [acceptance] = served.services.intake.enqueue(
        [IncomingMessage("ehr", "m-wait", [IncomingAttachment(data=b"no photo is scored here")])]
    )
    outcomes: list[str] = []

    def wait() -> None:
        """Retries, since the requests below take a place now and then."""
        with served.client() as client:
            answer = eventually(
                lambda: (a := client.get("/v1/messages/ehr/m-wait", params={"wait": 60})).status_code == 200 and a
            )
            assert isinstance(answer, httpx2.Response)
            outcomes.append(answer.json()["outcome"])

    waiting = [threading.Thread(target=wait) for _ in range(3)]
    with served.client() as client:
        for thread in waiting:
            thread.start()
        refused = eventually(lambda: (a := client.get("/v1/retakes")).status_code == 429 and a)
        override(
            served.services.sessions,
            "m-wait",
            Outcome.PASS,
            by="dr-1",
            reason="ends the waiting",
            policy=served.services.settings.retake_policy,
        )
        for thread in waiting:
            thread.join()
        assert client.get("/v1/retakes").status_code == 200
    assert isinstance(refused, httpx2.Response)
    assert (refused.json()["code"], refused.headers["retry-after"]) == ("too_many_requests", "1")
    assert outcomes == ["pass"] * 3
    assert acceptance.created


def test_request_that_waits_and_does_not_send_its_body_is_told_so(served: Served) -> None:
    served.services.intake.enqueue([IncomingMessage("ehr", "m-body", [IncomingAttachment(data=b"nor is this one")])])
    head = f"Host: a\r\nAuthorization: Bearer {served.key}\r\nContent-Length: 10\r\n\r\n"
    with connect(served) as connection:
        connection.sendall(f"GET /v1/messages/ehr/m-body?wait=60 HTTP/1.1\r\n{head}half".encode())
        answer = read_to_end(connection)

    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"code":"timed_out"' in answer


def test_waiting_survives_the_loss_of_its_connection_to_postgres(served: Served) -> None:
    [acceptance] = served.services.intake.enqueue(
        [IncomingMessage("ehr", "m-lost", [IncomingAttachment(data=b"no photo is scored here either")])]
    )
    outcome: list[str] = []

    def wait() -> None:
        with served.client() as client:
            outcome.append(client.get("/v1/messages/ehr/m-lost", params={"wait": 60}).json()["outcome"])

    def listeners() -> list[int]:
        with served.services.sessions() as session:
            query = "SELECT pid FROM pg_stat_activity WHERE application_name = 'triage listener'"
            return list(session.scalars(text(f"{query} AND datname = current_database()")))

    waiting = threading.Thread(target=wait)
    waiting.start()
    [before] = eventually(listeners)
    with served.services.sessions() as session:
        session.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": before})
    eventually(lambda: (after := listeners()) and after != [before])
    body = {"source": "ehr", "message_id": "m-lost", "outcome": "pass", "by": "dr-1", "reason": "ok"}
    with served.client() as client:
        assert client.post("/v1/overrides", json=body).status_code == 200
    waiting.join()
    assert outcome == ["pass"]
    assert acceptance.created


def test_upload_leaves_nothing_behind_when_the_server_is_killed(serve: Callable[..., Any]) -> None:
    photo = b"\xff\xd8\xff" + b"y" * 700_000
    body = HEAD + photo + END
    with serve() as served:
        with connect(served) as connection:
            connection.sendall(head_of_upload(served, len(body)) + body[:600_000])
            folder = served.services.blobs.folder
            descriptors = Path(f"/proc/{served.process.pid}/fd")
            eventually(lambda: any(str(folder) in str(each.readlink()) for each in descriptors.iterdir()))
            served.stop(signal.SIGKILL)
        assert stored_files(served) == []
        with served.services.sessions() as session:
            assert session.execute(text("SELECT count(*) FROM message")).scalar_one() == 0

        served.process, served.port = start(served.environment, served.log)
        with connect(served) as connection:
            connection.sendall(head_of_upload(served, len(body)) + body)
            assert connection.recv(12) == b"HTTP/1.1 202"
        assert stored_files(served) == [sha256_of(photo)]


def test_server_finishes_its_requests_and_exits_with_0_when_it_is_stopped(serve: Callable[..., Any]) -> None:
    with serve() as served:
        served.services.intake.enqueue([IncomingMessage("ehr", "m-1", [IncomingAttachment(data=b"no photo")])])
        answers: list[httpx2.Response] = []

        def wait() -> None:
            with served.client() as client:
                answers.append(client.get("/v1/messages/ehr/m-1", params={"wait": 60}))

        waiting = threading.Thread(target=wait)
        waiting.start()
        with served.client() as client:
            eventually(lambda: "triage_http_requests_in_progress 2.0" in client.get("/metrics").text)
        assert served.stop() == 0
        waiting.join()
        assert (answers[0].status_code, answers[0].json()["outcome"]) == (200, None)


def test_server_speaks_tls(serve: Callable[..., Any], tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path, "api")
    with serve(API__CERTIFICATE_FILE=str(certificate), API__KEY_FILE=str(key)) as served:
        context = ssl.create_default_context(cafile=certificate)
        url = f"https://localhost:{served.port}"
        with httpx2.Client(verify=context, trust_env=False) as client:
            assert client.get(f"{url}/livez").status_code == 200
            configuration = client.get(f"{url}/.well-known/smart-configuration").json()
        assert configuration["token_endpoint"] == f"https://127.0.0.1:{served.port}/auth/token"


@pytest.mark.parametrize(
    ("variables", "error"),
    [
        ({"API__HOST": "0.0.0.0"}, "set a TLS certificate and its key"),
        ({"API__HOST": "no.such.host.invalid"}, "set a TLS certificate and its key"),
        ({"API__CERTIFICATE_FILE": "/nowhere.pem", "API__KEY_FILE": "/nowhere.key"}, "TLS certificate or its key"),
        ({"API__CERTIFICATE_FILE": "/nowhere.pem"}, "set certificate_file and key_file together"),
        ({"API__ISSUER": "https://idp.example.org"}, "set issuer, audience and jwks_url together"),
        ({"API__LISTEN_URL": "postgresql+psycopg://triage@no.such.host.invalid/triage"}, "TRIAGE_API__LISTEN_URL"),
        ({"API__LISTEN_URL": "postgresql+psycopg://triage@localhost/triage?sslmode=x"}, "TRIAGE_API__LISTEN_URL"),
    ],
)
def test_server_refuses_to_start_when_a_setting_is_wrong(variables: dict[str, str], error: str, served: Served) -> None:
    environment = served.environment | {f"TRIAGE_{name}": value for name, value in variables.items()}

    done = subprocess.run(SERVE, env=environment, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 2
    assert done.stderr.startswith("triage: ")
    assert error in done.stderr
    assert done.stderr.count("\n") == 1


def test_server_refuses_to_start_when_its_port_is_taken(served: Served) -> None:
    environment = served.environment | {"TRIAGE_API__PORT": str(served.port)}

    done = subprocess.run(SERVE, env=environment, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 2
    assert "cannot open port" in done.stderr


def test_log_has_no_secret_and_no_file_name(served: Served) -> None:
    with served.client() as client:
        client.get("/v1/messages/ehr/Erika-Mustermann", headers={"Authorization": "Bearer swordfish"})
        client.post("/v1/messages", content=HEAD, headers={"Content-Type": "multipart/form-data; boundary=x"})
    log = served.log.read_text(encoding="utf-8")
    assert '"event": "request.refused"' in log
    assert not [leak for leak in (served.key, "swordfish", "Erika", "Traceback") if leak in log]


def test_photo_that_is_checked_is_deleted_when_the_server_was_killed(
    serve: Callable[..., Any], jpeg: Callable[..., bytes]
) -> None:
    with serve(API__ASSESSMENT_SECONDS="5") as served:

        def check() -> None:
            with suppress(httpx2.HTTPError), served.client() as client:
                client.post("/v1/assessments", files={"photo": ("1.jpg", jpeg(1), "image/jpeg")})

        served.services.intake.receive().close()  # sets the store up: that its marker is being written is no photo
        waiting = threading.Thread(target=check)
        waiting.start()
        [photo] = eventually(lambda: stored_files(served))
        served.process.kill()
        waiting.join()
        assert stored_files(served) == [photo]
        assert photo != sha256_of(jpeg(1))  # a message with the same photo keeps its bytes

        eventually(served.services.assessments.sweep)

        assert stored_files(served) == []
