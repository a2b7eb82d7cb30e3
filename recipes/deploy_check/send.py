"""The message system of the check: runs in a container of the image, and needs nothing else.

Reads an order from standard input and sends its messages, one over HTTP with the bytes of the photos, the next one
through Celery with their URIs, and so on. It retries until a message is accepted, and sends every fourth one again.
"""

import base64
import json
import os
import sys
import time
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from celery import Celery
from celery.exceptions import CeleryError
from celery.exceptions import TimeoutError as CeleryTimeoutError
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

INCOMING = Path("/srv/triage/exchange/incoming")
RETRY_SECONDS = 300


class RefusedError(Exception):
    """Retry."""


def main() -> None:
    order = json.load(sys.stdin)
    refused = doubled = 0
    pause = order["seconds"] / len(order["messages"])
    for number, (message_id, photos) in enumerate(order["messages"].items()):
        message = {"source": "check", "message_id": message_id, "thread": f"t-{message_id}"}
        repeats = 2 if number % 4 == 0 else 1
        for repeat in range(repeats):
            deadline = time.monotonic() + RETRY_SECONDS
            while True:
                try:
                    is_http = order["http_only"] or (number + repeat) % 2 == 0
                    answer = post(order["key"], message, photos) if is_http else submit(message, photos)
                    break
                except RefusedError as refusal:
                    refused += 1
                    if time.monotonic() > deadline:
                        raise SystemExit(f"{message_id} is not accepted: {refusal}") from None
                    time.sleep(0.5)
            ids = [each["attachment_id"] for each in answer["attachments"]]
            doubled += sorted(ids) != sorted(photos)
        time.sleep(pause)
    print(json.dumps({"refused": refused, "doubled": doubled}))


def post(key: str, message: dict[str, Any], photos: list[str]) -> dict[str, Any]:
    attachments = [
        {"data": base64.b64encode((INCOMING / name).read_bytes()).decode(), "attachment_id": name} for name in photos
    ]
    request = Request(  # a fixed address
        "http://api:8080/v1/messages",
        json.dumps(message | {"attachments": attachments}).encode(),
        {"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
    )
    try:
        with urlopen(request, timeout=30) as answer:  # noqa: S310
            accepted: dict[str, Any] = json.load(answer)
            return accepted
    except HTTPError as error:
        if error.code in {429, 503}:
            raise RefusedError(f"status {error.code}") from None
        raise SystemExit(f"{message['message_id']}: status {error.code}: {error.read().decode()}") from None
    except (URLError, OSError, ValueError) as error:
        raise RefusedError(str(error)) from None


def submit(message: dict[str, Any], photos: list[str]) -> dict[str, Any]:
    attachments = [{"uri": (INCOMING / name).as_uri(), "attachment_id": name} for name in photos]
    url = os.environ["TRIAGE_REDIS__URL"]
    with Celery(broker=url, backend=url) as app:
        app.conf.broker_transport_options = {"global_keyprefix": "triage:", "socket_timeout": 5, "max_retries": 1}
        app.conf.result_backend_transport_options = {"global_keyprefix": "triage:"}
        app.conf.redis_socket_timeout = 5
        try:
            sent = app.send_task("inbox.submit", [message | {"attachments": attachments}], queue="intake")
            answer: dict[str, Any] = sent.get(timeout=15)
        except (CeleryTimeoutError, CeleryError, OperationalError, RedisError, OSError) as failure:
            raise RefusedError(type(failure).__name__) from None
    if error := answer.get("error"):
        if error["code"] == "unavailable":
            raise RefusedError("unavailable")
        raise SystemExit(f"{message['message_id']}: {error}")
    return answer


if __name__ == "__main__":
    main()
