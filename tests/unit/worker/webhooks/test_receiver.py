"""Attempts against real servers on this machine: what each failure is called, and what a request carries."""

import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from ipaddress import IPv4Network
from pathlib import Path

import pytest
from pytest_httpserver import HTTPServer
from standardwebhooks import Webhook
from werkzeug import Request, Response

from tests.support.certificates import make_certificate
from triage.domain.deliveries import Answer, Event, EventDecision, EventRequest
from triage.domain.ids import DecisionId, EventId, RetakeRequestId, new_id
from triage.domain.states import DecidedBy, DeliveryError, EventKind, Outcome, Reason
from worker.webhooks.receiver import WebhookReceiver

SECRETS = ("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
LOOPBACK = (IPv4Network("127.0.0.0/8"),)
NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)


def _event(kind: EventKind = EventKind.MESSAGE_DECIDED) -> Event:
    decision = EventDecision(
        DecisionId(new_id()), Outcome.RETAKE, Reason.NO_PHOTO_PASSED, DecidedBy.MODEL, "starter", NOW
    )
    withdrawn = "override" if kind is EventKind.RETAKE_WITHDRAWN else None
    return Event(
        EventId(new_id()),
        kind,
        NOW,
        "ehr",
        "m-1",
        "t-1",
        decision if kind is EventKind.MESSAGE_DECIDED else None,
        EventRequest(RetakeRequestId(new_id()), may_have_been_sent=True, withdrawn_reason=withdrawn),
    )


def _send(url: str, *, seconds: float = 10, local: tuple[IPv4Network, ...] = LOOPBACK, **more: Path) -> Answer:
    return WebhookReceiver(url, SECRETS, local, seconds, **more).send(_event())


@contextmanager
def _answering(data: bytes, *, then_wait: bool = False) -> Iterator[str]:
    """A server that answers one request with these bytes and closes, or keeps the connection open."""
    done = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(data)
                if then_wait:
                    done.wait(60)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/hook"
        done.set()
        thread.join()


@pytest.mark.parametrize("kind", list(EventKind))
def test_event_arrives_signed_with_ids_and_codes_only(httpserver: HTTPServer, kind: EventKind) -> None:
    httpserver.expect_request("/hook", method="POST", query_string="tenant=7").respond_with_data("", 204)
    event = _event(kind)

    answer = WebhookReceiver(httpserver.url_for("/hook?tenant=7"), SECRETS, LOOPBACK, 10).send(event)

    [(request, _)] = httpserver.log
    assert answer == Answer(status=204)
    assert request.headers["webhook-id"] == str(event.id)
    assert request.content_type == "application/json"
    for secret in SECRETS:
        assert Webhook(secret).verify(request.data, dict(request.headers.items()))["type"] == kind.value
    body = json.loads(request.data)
    assert (body["event_id"], body["timestamp"]) == (str(event.id), "2026-11-29T12:00:00+00:00")
    common = {"request_id", "message_id", "source", "thread"}
    decided = {"decision_id", "outcome", "reason", "decided_by", "model", "decided_at"}
    assert (
        set(body["data"])
        == common
        | {
            EventKind.MESSAGE_DECIDED: decided,
            EventKind.RETAKE_REQUESTED: set(),
            EventKind.RETAKE_ANSWERED: set(),
            EventKind.RETAKE_WITHDRAWN: {"withdrawn_reason", "may_have_been_sent"},
        }[kind]
    )


def test_body_is_the_same_in_all_attempts(httpserver: HTTPServer) -> None:
    httpserver.expect_request("/hook").respond_with_data("")
    receiver, event = WebhookReceiver(httpserver.url_for("/hook"), SECRETS, LOOPBACK, 10), _event()

    receiver.send(event)
    receiver.send(event)

    (first, _), (second, _) = httpserver.log
    assert first.data == second.data
    assert first.headers["webhook-id"] == second.headers["webhook-id"]


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (200, None),
        (202, None),
        (304, DeliveryError.REDIRECTED),
        (400, DeliveryError.REFUSED),
        (404, DeliveryError.REFUSED),
        (410, DeliveryError.GONE),
        (429, DeliveryError.REFUSED),
        (500, DeliveryError.REFUSED),
    ],
)
def test_answer_is_judged_by_its_status(httpserver: HTTPServer, status: int, error: DeliveryError | None) -> None:
    httpserver.expect_request("/hook").respond_with_data("a body that nothing reads", status)

    assert _send(httpserver.url_for("/hook")) == Answer(error, status)


def test_redirect_to_another_server_is_not_followed(httpserver: HTTPServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        other.setblocking(False)
        target = f"http://127.0.0.1:{other.getsockname()[1]}/"
        httpserver.expect_request("/hook").respond_with_data("", 307, {"Location": target})

        assert _send(httpserver.url_for("/hook")) == Answer(DeliveryError.REDIRECTED, 307)
        with pytest.raises(BlockingIOError):
            other.accept()


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("17", 17),
        ("0", 0),
        ("9" * 30, 10**6),
        ("-5", None),
        ("soon", None),
        ("Sun, 29 Nov", None),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0),
        (f"Wed, 21 Oct {'9' * 20} 07:28:00 GMT", None),
        (f"Wed, 21 Oct 2015 07:28:00 +{'9' * 20}", None),
    ],
)
def test_pause_is_read_from_the_header(httpserver: HTTPServer, header: str, seconds: int | None) -> None:
    httpserver.expect_request("/hook").respond_with_data("", 429, {"Retry-After": header})

    retry_after = None if seconds is None else timedelta(seconds=seconds)
    assert _send(httpserver.url_for("/hook")) == Answer(DeliveryError.REFUSED, 429, retry_after)


def test_pause_is_read_from_a_date(httpserver: HTTPServer) -> None:
    until = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    httpserver.expect_request("/hook").respond_with_data("", 503, {"Retry-After": until})

    retry_after = _send(httpserver.url_for("/hook")).retry_after
    assert retry_after is not None
    assert timedelta(minutes=50) < retry_after <= timedelta(hours=1)


def test_receiver_is_unreachable_when_nothing_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert _send(f"http://127.0.0.1:{port}/") == Answer(DeliveryError.UNREACHABLE)


def test_receiver_is_unreachable_when_its_name_does_not_resolve() -> None:
    assert _send("http://no-such-host.invalid/") == Answer(DeliveryError.UNREACHABLE)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"HTTP/1.1 2",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\nX: y\r\n",
        b"HTTP/1.1 200 OK\r\nX: y",
        b"no http at all\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 999,
    ],
)
def test_answer_is_cut_off_when_it_is_incomplete_or_not_http(data: bytes) -> None:
    with _answering(data) as url:
        assert _send(url) == Answer(DeliveryError.CUT_OFF)


@pytest.mark.parametrize("data", [b"", b"HTTP/1.1 200 OK\r\nX-Slow:"])
def test_attempt_times_out_when_the_answer_does_not_end(data: bytes) -> None:
    with _answering(data, then_wait=True) as url:
        assert _send(url, seconds=0.5) == Answer(DeliveryError.TIMED_OUT)


def test_attempt_times_out_when_the_answer_trickles(httpserver: HTTPServer) -> None:
    """Each read is quick, and the whole is not."""

    def slowly(_: Request) -> Response:
        time.sleep(2)
        return Response()

    httpserver.expect_request("/hook").respond_with_handler(slowly)
    assert _send(httpserver.url_for("/hook"), seconds=0.5) == Answer(DeliveryError.TIMED_OUT)


def test_accepted_event_is_not_sent_again_when_the_body_of_the_answer_never_ends() -> None:
    with _answering(b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\nx", then_wait=True) as url:
        assert _send(url, seconds=5) == Answer(status=200)


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/", "http://localhost:9/", "http://169.254.169.254/latest/"])
def test_local_address_is_refused_when_its_network_is_not_allowed(url: str) -> None:
    assert _send(url, local=()) == Answer(DeliveryError.ADDRESS_NOT_ALLOWED)


def test_server_is_not_trusted_when_its_certificate_is_of_another_authority(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path, "server")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with HTTPServer(host="localhost", ssl_context=context) as server:
        server.expect_request("/hook").respond_with_data("")
        url = server.url_for("/hook")

        assert _send(url) == Answer(DeliveryError.UNTRUSTED_CERTIFICATE)
        assert _send(url, ca_file=certificate) == Answer(status=200)
