"""Public keys that an issuer of tokens publishes at a URL (JSON Web Key Set, RFC 7517)."""

import asyncio
import json
import ssl
import time
from contextlib import suppress
from typing import Any, Final

import httpx2
import structlog
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, Key, KeySet, RSAKey

from triage.errors import ServiceUnavailableError

log = structlog.get_logger(__name__)

_KINDS: Final[dict[str, type[RSAKey] | type[ECKey]]] = {"RSA": RSAKey, "EC": ECKey}
_SECONDS: Final = 5.0
_MAX_BYTES: Final = 2**18
_KEEP_SECONDS: Final = 300.0
_PAUSE_SECONDS: Final = 10.0
"""Between two readings because of an unknown key: tokens with invented keys cause no more than that."""


class PublishedKeys:
    """The keys at a URL, remembered for minutes, and read again when a token names a key that is not among them."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._lock = asyncio.Lock()
        self._keys: KeySet | None = None
        self._read_at = -_KEEP_SECONDS

    async def with_key(self, kid: str | None) -> KeySet:
        """Returns the keys, which need not have one of this id.

        Raises:
            ServiceUnavailableError: they cannot be read, and no earlier ones are known.
        """
        if not self._is_known(kid) or self._age >= _KEEP_SECONDS:
            async with self._lock:  # known keys do not wait while the issuer is asked for unknown ones
                if self._age >= (_KEEP_SECONDS if self._is_known(kid) else _PAUSE_SECONDS):
                    await self._read()
        if self._keys is None:
            raise ServiceUnavailableError("the public keys of the issuer cannot be read: check their URL")
        return self._keys

    @property
    def _age(self) -> float:
        return time.monotonic() - self._read_at

    def _is_known(self, kid: str | None) -> bool:
        return self._keys is not None and any(key.kid == kid for key in self._keys.keys)

    async def _read(self) -> None:
        """After a failure the earlier keys remain: an outage of the issuer is none of this server."""
        self._read_at = time.monotonic()
        try:
            self._keys = key_set(await _document(self._url))
        except (httpx2.HTTPError, JoseError, ValueError, KeyError, TypeError) as error:
            log.warning("keys.unavailable", error_type=type(error).__name__)


def key_set(document: Any) -> KeySet:
    """The RSA and EC keys of a key set. Keys that this library does not know are left out.

    Raises:
        ValueError: there is none.
    """
    keys: list[Key] = []
    for each in document["keys"]:
        with suppress(JoseError, ValueError, KeyError, TypeError):
            keys.append(_KINDS[each["kty"]].import_key(each))
    if not keys:
        raise ValueError("no usable key")
    return KeySet(keys)


def issuer_client() -> httpx2.AsyncClient:
    """A client for servers of an issuer: without proxies, with the system's authorities or those of `SSL_CERT_FILE`."""
    return httpx2.AsyncClient(timeout=_SECONDS, trust_env=False, verify=ssl.create_default_context())


async def _document(url: str) -> Any:
    async with (
        issuer_client() as client,
        asyncio.timeout(2 * _SECONDS),
        client.stream("GET", url, headers={"Accept": "application/json"}) as response,
    ):
        response.raise_for_status()
        body = b""
        async for piece in response.aiter_bytes():
            body += piece
            if len(body) > _MAX_BYTES:
                raise ValueError("the key set is too large")
    return json.loads(body)
