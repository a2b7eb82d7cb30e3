"""A message system that receives webhooks, on a real port: it verifies each event, and may fail in every way."""

import logging
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from pytest_httpserver import HTTPServer
from standardwebhooks import Webhook
from werkzeug import Request, Response

SECRET: Final = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # of tests
_SLOW_SECONDS: Final = 1.5
_TIMEOUT_SECONDS: Final = "1"


@dataclass
class WebhookReceiver:
    """
    Attributes:
        failing: share of the answers that are errors, redirects, too late or cut off.
        may_answer: requests wait while it is not set.
        events: each verified event, as often as it arrived.
        accepted: how often each event was answered with 2xx, by its id.
        bodies: the different bodies of each event. A repeat must have the same.
        strays: requests at an address that a redirect named.
    """

    server: HTTPServer
    failing: float = 0.0
    dice: random.Random = field(default_factory=lambda: random.Random(1))
    may_answer: threading.Event = field(default_factory=threading.Event)
    events: list[dict[str, Any]] = field(default_factory=list)
    accepted: Counter[str] = field(default_factory=Counter)
    bodies: dict[str, set[bytes]] = field(default_factory=dict)
    strays: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def variables(self) -> dict[str, str]:
        """The settings of workers that send to it, without `TRIAGE_`."""
        return {
            "WEBHOOK__URL": self.server.url_for("/hook"),
            "WEBHOOK__SECRET": SECRET,
            "WEBHOOK__LOCAL_NETWORKS": '["127.0.0.0/8"]',
            **({"WEBHOOK__TIMEOUT_SECONDS": _TIMEOUT_SECONDS} if self.failing else {}),
        }

    def seen(self) -> Counter[str]:
        """How often each event arrived, by its id."""
        return Counter(event["event_id"] for event in list(self.events))

    def handle(self, request: Request) -> Response:
        event = Webhook(SECRET).verify(request.data, dict(request.headers.items()))
        with self._lock:
            self.events.append(event)
            self.bodies.setdefault(request.headers["webhook-id"], set()).add(request.data)
            fails = self.dice.random() < self.failing
            how = self.dice.choice(["500", "429", "307", "slow", "cut"])
        self.may_answer.wait(60)
        if fails:
            return self._fail(how, request)
        with self._lock:
            self.accepted[request.headers["webhook-id"]] += 1
        return Response(status=204)

    def count_stray(self, _: Request) -> Response:
        self.strays += 1
        return Response(status=204)

    def _fail(self, how: str, request: Request) -> Response:
        if how == "slow":
            time.sleep(_SLOW_SECONDS)
            return Response(status=500)
        if how == "cut":
            connection: socket.socket = request.environ["werkzeug.socket"]
            connection.shutdown(socket.SHUT_RDWR)
            return Response(status=204)
        headers = {"429": {"Retry-After": "1"}, "307": {"Location": self.server.url_for("/elsewhere")}}
        return Response(status=int(how), headers=headers.get(how))


@contextmanager
def webhook_receiver(*, failing: float = 0.0) -> Iterator[WebhookReceiver]:
    """A receiver that answers each request in a thread of its own."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it logs every request
    with HTTPServer(threaded=True) as server:
        receiver = WebhookReceiver(server, failing)
        receiver.may_answer.set()
        server.expect_request("/hook", method="POST").respond_with_handler(receiver.handle)
        server.expect_request("/elsewhere").respond_with_handler(receiver.count_stray)
        yield receiver
        receiver.may_answer.set()
