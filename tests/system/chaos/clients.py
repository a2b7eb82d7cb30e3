"""A message system as processes, each of which continues by its journal after a SIGKILL at any moment.

`python -m tests.system.chaos.clients send JOURNAL SHARED` and `... claim JOURNAL SHARED`.
"""

import json
import random
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from celery.exceptions import TimeoutError as NoAnswerError

from tests.system.chaos.photos import Photo
from triage.domain.messages import HeldRequest, IncomingAttachment
from triage.errors import ServiceUnavailableError
from worker.client import acknowledge_requests, claim_requests, enqueue_message
from worker.queues import TaskName
from worker.services import Services
from worker.settings import load_settings

_LEASE: Final = timedelta(seconds=2)
_ANSWER_SECONDS: Final = 10.0
_RESENT_SHARE: Final = 0.2


class Journal:
    """Lines of JSON in a file. SIGKILL loses none, since the kernel has each when `write` returns."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def write(self, event: str, **facts: object) -> None:
        with self.file.open("ab", buffering=0) as file:
            file.write(json.dumps({"event": event, **facts}).encode() + b"\n")

    def read(self, event: str) -> list[dict[str, Any]]:
        lines = self.file.read_text(encoding="utf-8").splitlines() if self.file.exists() else []
        return [line for line in map(json.loads, lines) if line["event"] == event]


class Orders:
    """What the clients share: the photos as files, and the number of messages of each sender."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def write(cls, folder: Path, photos: Sequence[Photo], *, messages: int, photos_per_message: int) -> "Orders":
        folder.mkdir()
        for number, photo in enumerate(photos):
            (folder / f"{number}.jpg").write_bytes(photo.data)
        numbers = {"photos": len(photos), "messages": messages, "photos_per_message": photos_per_message}
        (folder / "numbers.json").write_text(json.dumps(numbers), encoding="utf-8")
        return cls(folder)

    def messages(self, sender: str) -> Iterator[tuple[str, list[int]]]:
        """The ids of a sender's messages with the numbers of their photos; the same after each restart."""
        numbers = json.loads((self.folder / "numbers.json").read_text(encoding="utf-8"))
        for number in range(numbers["messages"]):
            dice = random.Random(f"{sender}-{number}")
            n_photos = dice.randint(1, 2 * numbers["photos_per_message"] - 1)
            yield f"{sender}-{number}", dice.choices(range(numbers["photos"]), k=n_photos)

    def file(self, photo: int) -> Path:
        return self.folder / f"{photo}.jpg"


def send(journal: Journal, orders: Orders, name: str) -> None:
    """Sends its messages, in turn through Python and through Celery, some of them twice."""
    accepted = {line["message"] for line in journal.read("accepted")}
    dice = random.Random()
    with Services(load_settings()) as services:
        for number, (message, photos) in enumerate(orders.messages(name)):
            while message not in accepted or dice.random() < _RESENT_SHARE:
                with _retried():
                    by_celery = number % 2 == 1
                    id_ = _submit(services, orders, message, photos) if by_celery else _enqueue(orders, message, photos)
                    if id_ is not None:
                        journal.write("accepted", message=message, id=id_)
                        accepted.add(message)
    signal.pause()


def _enqueue(orders: Orders, message: str, photos: Sequence[int]) -> str:
    attachments = [
        IncomingAttachment(data=orders.file(photo).read_bytes(), external_id=str(position))
        for position, photo in enumerate(photos)
    ]
    return str(enqueue_message(source="ehr", message_id=message, attachments=attachments).id)


def _submit(services: Services, orders: Orders, message: str, photos: Sequence[int]) -> str | None:
    """None if the worker that had the message was killed."""
    attachments = [
        {"uri": orders.file(photo).as_uri(), "attachment_id": str(position)} for position, photo in enumerate(photos)
    ]
    document = {"source": "ehr", "message_id": message, "attachments": attachments}
    sent = services.celery.send_task(TaskName.SUBMIT, [document], ignore_result=False)
    answer = sent.get(timeout=_ANSWER_SECONDS)
    if "error" in answer:
        assert answer["error"]["code"] == "unavailable", answer
        return None
    id_: str = answer["id"]
    return id_


@contextmanager
def _retried() -> Iterator[None]:
    try:
        yield
    except (ServiceUnavailableError, NoAnswerError):
        time.sleep(0.2)


def claim(journal: Journal, name: str) -> None:
    """Claims, delivers and acknowledges requests without end, some of them after their lease."""
    dice = random.Random()
    while True:
        with _retried():
            started = time.monotonic()
            requests = claim_requests(by=name, limit=5, lease=_LEASE)
            claimed = time.monotonic()
            for request in requests:
                journal.write("delivered", id=str(request.id), started=started, claimed=claimed)
            time.sleep(dice.choice([0, 0.2, 0.5, 1.1 * _LEASE.total_seconds()]))
            held = [HeldRequest(request.id, request.token) for request in requests if request.token is not None]
            answers = acknowledge_requests(held, by=name)
            acked = time.monotonic()
            for each, answer in zip(held, answers, strict=True):
                journal.write("acked", id=str(each.id), answer=answer, at=acked)


def find_doubled(journals: Sequence[Journal]) -> list[str]:
    """The requests that were handed out after an acknowledgement, or while another claimer held them."""
    deliveries: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
    acked: dict[str, float] = {}
    for journal in journals:
        for line in journal.read("delivered"):
            deliveries[line["id"]].append((line["started"], line["claimed"]))
        acked |= {line["id"]: line["at"] for line in journal.read("acked") if line["answer"] == "sent"}
    doubled = []
    for id_, times in deliveries.items():
        times.sort()
        is_late = any(started > acked.get(id_, float("inf")) for started, _ in times)
        ends = [started + _LEASE.total_seconds() for started, _ in times]
        if is_late or any(claimed < end for end, (_, claimed) in zip(ends, times[1:], strict=False)):
            doubled.append(id_)
    return doubled


if __name__ == "__main__":
    role, file, folder = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    if role == "send":
        send(Journal(file), Orders(folder), file.stem)
    else:
        claim(Journal(file), file.stem)
