"""Signatures by Standard Webhooks: HMAC-SHA256 over the id, the time and the body of a request."""

import base64
import hashlib
import hmac
from collections.abc import Sequence
from typing import Final

from worker.setting_types import SECRET_PREFIX

_VERSION: Final = "v1"


def signature_headers(secrets: Sequence[str], *, event_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The headers that let a receiver verify a request.

    Args:
        secrets: each makes one signature, so that receivers with the old and with the new secret can verify it.
        event_id: the same in all attempts.
        timestamp: of this attempt, in seconds since 1970. Receivers refuse old ones, which stops replays.
        body: as it is sent.
    """
    signed = b"%b.%d.%b" % (event_id.encode(), timestamp, body)
    return {
        "webhook-id": event_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(f"{_VERSION},{_sign(secret, signed)}" for secret in secrets),
    }


def _sign(secret: str, signed: bytes) -> str:
    key = base64.b64decode(secret.removeprefix(SECRET_PREFIX))
    return base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
