"""Who calls: a key, an access token of this server, or a token of the identity provider, each as a bearer token."""

from typing import Final, Protocol

import anyio
import anyio.to_thread

from triage.clients.credentials import authenticate
from triage.domain.clients import Caller
from worker.api.problems import RequestError
from worker.codes import Code
from worker.services import Services

_MAX_TOKEN: Final = 8192


class TokenReader(Protocol):
    """Reads tokens of one kind of issuer."""

    async def read(self, token: str) -> Caller:
        """
        Raises:
            RequestError: the token is not valid.
            ServiceUnavailableError: the keys of the issuer cannot be read now.
        """


class Authenticator:
    """Tells who sends a request by its header `Authorization`."""

    def __init__(
        self, services: Services, threads: anyio.CapacityLimiter, identity_provider: TokenReader | None = None
    ) -> None:
        self._services = services
        self._threads = threads
        self._identity_provider = identity_provider

    async def __call__(self, header: str | None) -> Caller:
        """
        Raises:
            RequestError: the header is missing, or its key or token is not valid.
            ServiceUnavailableError: it cannot be checked now.
        """
        kind, _, token = (header or "").partition(" ")
        token = token.strip()
        if kind.lower() != "bearer" or not token:
            raise RequestError(
                Code.UNAUTHENTICATED,
                "no key or token: send `Authorization: Bearer` with one",
                {"WWW-Authenticate": "Bearer"},
            )
        if len(token) > _MAX_TOKEN:
            raise unauthenticated()
        if self._identity_provider is not None and token.count(".") == 2:  # a JWT; no key or token of ours has a dot
            return await self._identity_provider.read(token)
        found = await anyio.to_thread.run_sync(authenticate, self._services.sessions, token, limiter=self._threads)
        if found is None:
            raise unauthenticated()
        return found


def unauthenticated(detail: str = "the key or token is unknown, expired or revoked") -> RequestError:
    return RequestError(Code.UNAUTHENTICATED, detail, {"WWW-Authenticate": 'Bearer error="invalid_token"'})
