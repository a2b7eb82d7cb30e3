"""A message system: sends messages, resends those not accepted, and collects retake requests."""

import random
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

from sqlalchemy.exc import SQLAlchemyError

from tests.system.chaos.photos import Photo
from triage.domain.messages import HeldRequest, IncomingAttachment, IncomingMessage
from triage.errors import ServiceUnavailableError
from triage.storage import outbox
from triage.storage.database import database_errors
from worker.services import Services

_LEASE = timedelta(seconds=5)


@dataclass
class Sent:
    """The accepted attachments with their photos."""

    photos: dict[UUID, Photo] = field(default_factory=dict)
    messages: set[UUID] = field(default_factory=set)
    refused: int = 0


class Sender:
    def __init__(self, services: Services, photos: Sequence[Photo], dice: random.Random) -> None:
        self.sent = Sent()
        self.messages_per_thread = 3
        self._services = services
        self._photos = photos
        self._dice = dice

    def send(self, n_messages: int, n_photos: int, *extra: Photo) -> None:
        """Sends messages with `photos` photos in total, some messages per thread; `extra` photos go one by one."""
        photos = [self._dice.choice(self._photos) for _ in range(n_photos - len(extra))]
        photos += extra
        self._dice.shuffle(photos)
        for number in range(n_messages):
            self._send_one(photos[number * len(photos) // n_messages : (number + 1) * len(photos) // n_messages])

    def _send_one(self, photos: Sequence[Photo]) -> None:
        number = len(self.sent.messages)
        attachments = [
            IncomingAttachment(data=photo.data, external_id=str(position)) for position, photo in enumerate(photos)
        ]
        message = IncomingMessage("ehr", f"m-{number}", attachments, thread=f"t-{number // self.messages_per_thread}")
        while True:
            try:
                with database_errors():
                    [acceptance] = self._services.intake.enqueue([message])
                break
            except ServiceUnavailableError:
                self.sent.refused += 1
                time.sleep(0.2)
        self.sent.messages.add(acceptance.id)
        by_id = {item.external_id: item.id for item in acceptance.attachments}
        self.sent.photos |= {by_id[str(position)]: photo for position, photo in enumerate(photos)}


class Collector:
    """Claims, delivers and acknowledges requests; sometimes it stops between delivery and acknowledgement."""

    def __init__(self, services: Services, dice: random.Random) -> None:
        self.delivered_after_ack: Counter[UUID] = Counter()
        self.acked: set[UUID] = set()
        self._services = services
        self._dice = dice
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._collect, name="collector", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _collect(self) -> None:
        while not self._stop.wait(0.3):
            with suppress(ServiceUnavailableError, SQLAlchemyError):
                self.collect()

    def collect(self) -> int:
        """Delivers the claimed requests; returns their number."""
        with database_errors(), self._services.sessions.begin() as session:
            requests = outbox.claim(session, limit=10, lease=_LEASE, by="ehr")
        for request in requests:
            if request.id in self.acked:
                self.delivered_after_ack[request.id] += 1
            if request.token is None or self._dice.random() < 0.2:
                continue
            with database_errors(), self._services.sessions.begin() as session:
                is_acked = outbox.acknowledge(session, [HeldRequest(request.id, request.token)])
            if is_acked:
                self.acked.add(request.id)
        return len(requests)
