"""The receiver of webhooks: reads events, and makes one signed POST request for each attempt."""

import socket
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from sqlalchemy.orm import Session

from triage.connections import AddressNotAllowedError, Network, NoConnectionError, UntrustedServerError, connect
from triage.domain.deliveries import Answer, ClaimedDelivery, Event
from triage.domain.ids import EventId
from triage.domain.states import DeliveryError
from triage.storage import deliveries
from worker.documents.events import event_body
from worker.retry_after import delay_of
from worker.webhooks.signing import signature_headers

_HEADERS: Final = {
    "Content-Type": "application/json",
    "Connection": "close",
    "User-Agent": "skin-photo-triage",
}


@dataclass(frozen=True, slots=True)
class WebhookReceiver:
    """
    Attributes:
        url: gets the requests. It is never logged and never part of an error.
        secrets: the current one first.
        local_networks: networks, not public, in which the receiver may be.
        seconds: time limit for a request and its answer.
        ca_file: certificate of the authority that signed the receiver's; by default those of the system.
    """

    url: str
    secrets: Sequence[str]
    local_networks: Sequence[Network]
    seconds: float
    ca_file: Path | None = None

    def load(self, session: Session, claimed: Collection[ClaimedDelivery]) -> Mapping[EventId, Event]:
        return deliveries.load_events(session, claimed)

    def send(self, item: Event) -> Answer:
        body = event_body(item)
        signature = signature_headers(self.secrets, event_id=str(item.id), timestamp=int(time.time()), body=body)
        started = time.monotonic()
        try:
            return self._post(body, {**_HEADERS, **signature})
        except AddressNotAllowedError:
            return Answer(DeliveryError.ADDRESS_NOT_ALLOWED)
        except UntrustedServerError:
            return Answer(DeliveryError.UNTRUSTED_CERTIFICATE)
        except (NoConnectionError, socket.gaierror):
            return Answer(DeliveryError.UNREACHABLE)
        except (HTTPException, OSError):
            is_late = time.monotonic() - started >= self.seconds
            return Answer(DeliveryError.TIMED_OUT if is_late else DeliveryError.CUT_OFF)

    def record(self, session: Session, accepted: Collection[ClaimedDelivery]) -> None:
        """As `Receiver.record`: nothing follows."""

    def _post(self, body: bytes, headers: Mapping[str, str]) -> Answer:
        parts = urlsplit(self.url)
        path = f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"
        with connect(
            parts.scheme,
            parts.netloc,
            local_networks=self.local_networks,
            seconds=self.seconds,
            ca_file=self.ca_file,
        ) as (connection, _):
            connection.request("POST", path, body=body, headers=dict(headers))
            with connection.getresponse() as response:  # its body is not read: nothing in it matters
                return _answer(response.status, response.getheader("Retry-After"))


def _answer(status: int, retry_after: str | None) -> Answer:
    if 200 <= status < 300:
        return Answer(status=status)
    if 300 <= status < 400:
        return Answer(DeliveryError.REDIRECTED, status)
    if status == 410:
        return Answer(DeliveryError.GONE, status)
    return Answer(DeliveryError.REFUSED, status, delay_of(retry_after))
