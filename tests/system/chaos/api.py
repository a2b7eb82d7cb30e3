"""`triage serve` under faults: killed servers, killed workers and lost services, while clients send, wait and check."""

import os
import random
import signal
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import httpx2

from tests.system.chaos.kills import kill
from tests.system.chaos.photos import Photo
from tests.system.chaos.services import kill_redis
from tests.system.chaos.site import Scale, Site
from triage.clients import registration
from triage.domain.scopes import Scope
from triage.files.hashing import sha256_of

_PARTS: Final = ("api-1", "scoring-1", "scoring-2", "intake-1", "beat-1")
_SCOPES: Final = (Scope.MESSAGES_WRITE, Scope.MESSAGES_READ, Scope.PHOTOS_ASSESS)
_ASSESSMENT_SECONDS: Final = 5
_PIECES: Final = 5
_PAUSE_SECONDS: Final = 0.02
"""Between two pieces of a body, so that a kill strikes in the middle of uploads."""

_BOUNDARY: Final = "part-of-a-form"
_TEMPORARY: Final = {503, 429, 408}


def kill_server(site: Site, scale: Scale) -> int:
    """Kills the server in the middle of uploads and waits, then between the commit of a message and its answer.

    Each message is stored once, with the ids of every answer.
    """
    clients = Clients(site)
    with clients.running(scale, senders=4, waiters=2):
        for _ in range(scale.kills):
            clients.wait_until_up()
            time.sleep(site.dice.uniform(0.2, 3))
            kill(site, "api-1", child=False)
            site.fault_ended()
    for number in range(scale.times):
        _kill_after_commit(site, clients, f"unanswered-{number}")
        site.fault_ended()
    assert clients.counts["resent"] > scale.times, "no kill struck an upload"
    clients.check()
    return scale.kills + scale.times


def kill_in_lane(site: Site, scale: Scale) -> int:
    """Kills workers that have photos of the lane in hand, and the server that waits for them.

    No photo that was checked stays in the blob store, nothing of it in the database, and no answer is wrong.
    """
    clients = Clients(site)
    with clients.running(scale, senders=1, checkers=6):
        for number in range(scale.kills):
            clients.wait_until_checked()
            site.wait_until(lambda: site.query("SELECT FROM assessment WHERE is_taken AND answer IS NULL"))
            name = site.dice.choice(["scoring-1", "scoring-2"])
            if number % 4 == 3:
                kill(site, "api-1", child=False)
            else:
                kill(site, name, child=site.dice.random() < 0.7)
            site.fault_ended()
    assert clients.counts["unanswered"], "no kill struck a photo of the lane"
    clients.check()
    return scale.kills


def lose_services(site: Site, scale: Scale) -> int:
    """Restarts Postgres in immediate mode, and Redis empty, while messages are sent and awaited and photos checked."""
    clients = Clients(site)
    with clients.running(scale, senders=2, waiters=4, checkers=4):
        for number in range(2 * scale.times):
            clients.wait_until_checked()
            if number % 2:
                kill_redis(site)
                time.sleep(scale.seconds / 10)
                site.redis.start()
            else:
                site.postgres.stop("immediate")
                time.sleep(scale.seconds / 10)
                site.postgres.start()
            site.fault_ended()
    assert clients.counts["unanswered"], "no outage struck a photo of the lane"
    clients.check()
    return 2 * scale.times


class Clients:
    """Systems that call the server from threads, and retry until they are answered."""

    def __init__(self, site: Site) -> None:
        self.counts: Counter[str] = Counter()
        self._site = site
        self._wrong: list[str] = []
        self._accepted: dict[str, dict[str, Any]] = {}
        self._outcomes: dict[str, str] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._url = f"http://127.0.0.1:{free.getsockname()[1]}"
        key = registration.add(site.services.sessions, "ehr", _SCOPES, by="chaos", sources=["ehr"]).key
        self._headers = {"Authorization": f"Bearer {key}"}
        site.parts.environment |= {
            "TRIAGE_API__PORT": self._url.rpartition(":")[2],
            "TRIAGE_API__ASSESSMENT_SECONDS": str(_ASSESSMENT_SECONDS),
        }
        site.parts.command_of["api-1"] = [sys.executable, "-c", "from worker.cli import main; main()", "serve"]

    @contextmanager
    def running(self, scale: Scale, *, senders: int, waiters: int = 0, checkers: int = 0) -> Iterator[None]:
        """Starts all parts and clients. Afterwards, every message is accepted and every wait has ended."""
        self._site.parts.start(*_PARTS)
        self.wait_until_up()
        shares = [range(n, scale.messages, senders) for n in range(senders)]
        per_message = max(1, scale.photos // scale.messages)
        work: list[Callable[[random.Random], None]] = [
            *(lambda dice, share=share: self._send_all(share, per_message, dice) for share in shares),
            *[self._wait] * waiters,
            *[self._check] * checkers,
        ]
        threads = [
            threading.Thread(target=each, args=(random.Random(self._site.dice.random()),), daemon=True) for each in work
        ]
        for thread in threads:
            thread.start()
        self._site.wait_for_work()
        yield
        self._stop.set()
        self._site.wait_until(lambda: not any(thread.is_alive() for thread in threads))

    def wait_until_up(self) -> None:
        self._site.wait_until(lambda: self._ask("GET", "/readyz"))

    def wait_until_checked(self) -> None:
        """Waits until the lane answers again."""
        before = self.counts["checked"]
        self._site.wait_until(lambda: self.counts["checked"] > before + 2)

    def send(self, message: str, photos: Sequence[Photo]) -> None:
        """Sends a message until it is accepted. What is answered once is answered always."""
        attachments = [{"part": str(n), "attachment_id": str(n)} for n in range(len(photos))]
        document = {"source": "ehr", "message_id": message, "attachments": attachments}
        parts = [("message", httpx2.Response(200, json=document).content)]
        parts += [(str(n), photo.data) for n, photo in enumerate(photos)]
        while (answer := self._ask("POST", "/v1/messages", _form(parts))) is None:
            self.counts["resent"] += 1
            time.sleep(0.1)
        ids = {each["attachment_id"]: each["id"] for each in answer["attachments"]}
        with self._lock:
            known = self._accepted.setdefault(message, {"id": answer["id"], "attachments": ids})
            self._site.sender.sent.messages.add(UUID(answer["id"]))
            self._site.sender.sent.photos |= {UUID(ids[str(n)]): photo for n, photo in enumerate(photos)}
        if known != {"id": answer["id"], "attachments": ids}:
            self._wrong.append("a message got two ids")

    def check(self) -> None:
        """Waits until all is settled, and checks what is left behind."""
        site = self._site
        site.settle()
        site.wait_until(lambda: not site.query("SELECT FROM assessment"))
        folder = Path(site.settings.blobs_url)
        stored = {path.name for path in folder.rglob("*") if path.is_file() and path.name != "triage-store-id"}
        assert stored == {sha256_of(photo.data) for photo in site.sender.sent.photos.values()}
        assert not site.query("SELECT FROM message m WHERE NOT id = ANY(:ids)", ids=list(site.sender.sent.messages))
        decided = site.query(
            "SELECT m.external_id AS message, d.outcome FROM message m JOIN decision d ON d.id = m.current_decision_id"
        )
        assert self._outcomes.items() <= {(row.message, row.outcome) for row in decided}
        assert not self._wrong, self._wrong[:5]
        assert "request.failed" not in site.parts.log("api-1"), "the server met a defect"

    def _send_all(self, numbers: range, per_message: int, dice: random.Random) -> None:
        """Sends each message, then some of them again until the faults end."""
        site, sent = self._site, []
        for number in numbers:
            name = f"m-{number}"
            photos = random.Random(name).choices(site.photos, k=random.Random(name).randint(1, 2 * per_message - 1))
            self.send(name, photos)
            sent.append((name, photos))
        while sent and not self._stop.is_set():
            self.send(*dice.choice(sent))
            self.counts["repeated"] += 1

    def _wait(self, dice: random.Random) -> None:
        """Waits for decisions, each of which is final: no person decides here and no model follows."""
        while not self._stop.is_set():
            with self._lock:
                open_ = sorted(self._accepted.keys() - self._outcomes.keys())
            if not open_:
                time.sleep(0.1)
                continue
            message = dice.choice(open_[-20:])
            state = self._ask("GET", f"/v1/messages/ehr/{message}?wait=20")
            self.counts["waited"] += 1
            if state is not None and state["outcome"] is not None:
                self._outcomes[message] = state["outcome"]

    def _check(self, dice: random.Random) -> None:
        while not self._stop.is_set():
            photo = dice.choice(self._site.photos)
            answer = self._ask("POST", "/v1/assessments", _form([("photo", photo.data)]))
            if answer is None:
                self.counts["unanswered"] += 1
                time.sleep(0.1)
                continue
            self.counts["checked"] += 1
            said = None if answer["score"] is None else answer["acceptable"]
            if said is not photo.is_good:
                self._wrong.append("a photo got a wrong answer")

    def _ask(self, method: str, path: str, body: Sequence[bytes] = ()) -> Any:
        """The document that answers; None if the server is gone or asks for a retry."""
        headers = self._headers | ({"Content-Type": f"multipart/form-data; boundary={_BOUNDARY}"} if body else {})
        content = _slowly(body) if body else None
        try:
            with httpx2.Client(base_url=self._url, trust_env=False, timeout=60) as client:
                answer = client.request(method, path, headers=headers, content=content)
        except httpx2.HTTPError:
            return None
        if answer.status_code in _TEMPORARY:
            return None
        if answer.status_code >= 300:
            self._wrong.append(f"{method} {path} was answered {answer.status_code}")
            return None
        return answer.json()


def _kill_after_commit(site: Site, clients: Clients, message: str) -> None:
    """Redis is stopped, so the server waits to wake a worker after the commit, and is killed meanwhile."""
    redis = site.redis.pid
    assert redis is not None
    clients.wait_until_up()
    sending = threading.Thread(target=clients.send, args=(message, site.photos[:2]), daemon=True)
    os.kill(redis, signal.SIGSTOP)
    try:
        sending.start()
        [stored] = site.wait_until(lambda: site.query("SELECT id FROM message WHERE external_id = :id", id=message))
        kill(site, "api-1", child=False)
        assert message not in clients._accepted, "the server had answered before it was killed"
    finally:
        with suppress(ProcessLookupError):
            os.kill(redis, signal.SIGCONT)
    site.wait_until(lambda: not sending.is_alive())
    assert clients._accepted[message]["id"] == str(stored.id)


def _form(parts: Sequence[tuple[str, bytes]]) -> list[bytes]:
    """A form in pieces."""
    body = b"".join(
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'.encode() + data + b"\r\n"
        for name, data in parts
    )
    body += f"--{_BOUNDARY}--\r\n".encode()
    size = -(-len(body) // _PIECES)
    return [body[start : start + size] for start in range(0, len(body), size)]


def _slowly(pieces: Sequence[bytes]) -> Iterator[bytes]:
    for piece in pieces:
        yield piece
        time.sleep(_PAUSE_SECONDS)
