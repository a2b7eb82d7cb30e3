"""Login by OpenID Connect: the code flow with PKCE (OpenID Connect Core 1.0, RFC 7636), by the provider's discovery.

State, nonce and code verifier are derived from one random id in a cookie of the browser that began the login, so no
other browser can end it, and the server keeps nothing in between.
"""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

import httpx2
from joserfc import jws, jwt
from joserfc.errors import JoseError

from triage.domain.clients import check_jwks_url
from triage.domain.staff import Role, check_staff_name
from triage.errors import ServiceUnavailableError, UsageError
from worker.api.published_keys import PublishedKeys, issuer_client
from worker.setting_groups import ConsoleSettings

CALLBACK: Final = "/login/callback"

_ALGORITHMS: Final = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"]
_KEEP_SECONDS: Final = 3600.0
_LEEWAY_SECONDS: Final = 30
_MAX_BYTES: Final = 2**18


class RefusedLoginError(Exception):
    """The provider's answer does not prove who the person is, or gives no role."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who logs in. `subject` is the provider's permanent id of the person."""

    issuer: str
    subject: str
    name: str
    role: Role


class LoginProvider:
    """The identity provider that the settings name."""

    def __init__(self, settings: ConsoleSettings, redirect_uri: str) -> None:
        self._settings = settings
        self._redirect_uri = redirect_uri
        self._issuer = settings.issuer or ""
        self._client_id = settings.client_id or ""
        self._metadata: Mapping[str, str] | None = None
        self._read_at = 0.0
        self._keys: PublishedKeys | None = None

    async def address(self, login: str) -> str:
        """Where to send the browser whose cookie has this random id.

        Raises:
            ServiceUnavailableError: the provider does not respond.
        """
        metadata = await self._discover()
        challenge = hashlib.sha256(_derived(login, "verifier").encode()).digest()
        query = {
            "response_type": "code",
            "client_id": self._client_id,
            "redirect_uri": self._redirect_uri,
            "scope": "openid profile email",
            "state": _derived(login, "state"),
            "nonce": _derived(login, "nonce"),
            "code_challenge": base64.urlsafe_b64encode(challenge).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
        }
        address = metadata["authorization_endpoint"]
        return f"{address}{'&' if '?' in address else '?'}{urlencode(query)}"

    async def identity(self, login: str, answer: Mapping[str, str]) -> Identity:
        """Who the provider's answer proves the person to be.

        Args:
            login: the random id in the cookie of the browser.
            answer: the query with which the provider sent the browser back.

        Raises:
            RefusedLoginError: the answer is an error, belongs to another login, or a claim is missing or wrong.
            ServiceUnavailableError: the provider does not respond.
        """
        if not hmac.compare_digest(answer.get("state", "").encode(), _derived(login, "state").encode()):
            raise RefusedLoginError("state")
        metadata = await self._discover()
        if answer.get("iss", self._issuer) != self._issuer or not answer.get("code"):  # RFC 9207
            raise RefusedLoginError("answer")
        tokens = await self._redeem(metadata["token_endpoint"], answer["code"], _derived(login, "verifier"))
        try:
            claims = await self._claims(str(tokens["id_token"]), _derived(login, "nonce"))
            name = check_staff_name(claims[self._settings.name_claim])
            role = self._settings.role_of(_values(claims, self._settings.role_claim))
            subject = claims["sub"]
        except (JoseError, ValueError, KeyError, TypeError, RecursionError, UsageError):
            raise RefusedLoginError("claims") from None
        if role is None or not isinstance(subject, str):
            raise RefusedLoginError("role")
        return Identity(self._issuer, subject, name, role)

    async def _claims(self, token: str, nonce: str) -> dict[str, Any]:
        if self._keys is None:
            self._keys = PublishedKeys((await self._discover())["jwks_uri"])
        keys = await self._keys.with_key(jws.extract_compact(token.encode()).headers().get("kid"))
        claims = jwt.decode(token, keys, algorithms=_ALGORITHMS).claims
        jwt.JWTClaimsRegistry(
            leeway=_LEEWAY_SECONDS,
            iss={"essential": True, "value": self._issuer},
            aud={"essential": True, "value": self._client_id},
            exp={"essential": True},
            iat={"essential": True},
            nonce={"essential": True, "value": nonce},
        ).validate(claims)
        audiences = claims["aud"]  # OpenID Connect Core 1.0, section 3.1.3.7: several need `azp`
        alone = self._client_id if isinstance(audiences, str) or len(audiences) == 1 else None
        if claims.get("azp", alone) != self._client_id:
            raise ValueError("azp")
        return claims

    async def _redeem(self, address: str, code: str, verifier: str) -> Mapping[str, Any]:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._redirect_uri,
            "client_id": self._client_id,
            "code_verifier": verifier,
        }
        secret = self._settings.client_secret
        auth = None if secret is None else httpx2.BasicAuth(self._client_id, secret.get_secret_value())
        status, document = await _fetch("POST", address, data=form, auth=auth)
        if status != 200:
            raise RefusedLoginError("code")
        return document

    async def _discover(self) -> Mapping[str, str]:
        if self._metadata is None or time.monotonic() - self._read_at > _KEEP_SECONDS:
            status, document = await _fetch("GET", f"{self._issuer.rstrip('/')}/.well-known/openid-configuration")
            try:
                metadata = {
                    name: str(document[name]) for name in ("authorization_endpoint", "token_endpoint", "jwks_uri")
                }
                for url in metadata.values():
                    check_jwks_url(url)
                if status != 200 or document["issuer"] != self._issuer:
                    raise ValueError("issuer")
            except (KeyError, ValueError, UsageError):
                raise _unavailable() from None
            self._metadata, self._read_at = metadata, time.monotonic()
        return self._metadata


async def _fetch(method: str, url: str, **options: Any) -> tuple[int, Mapping[str, Any]]:
    body = b""
    try:
        async with (
            issuer_client() as client,
            client.stream(method, url, headers={"Accept": "application/json"}, **options) as response,
        ):
            async for piece in response.aiter_bytes():
                body += piece
                if len(body) > _MAX_BYTES:
                    raise _unavailable()
        document = json.loads(body)
    except (httpx2.HTTPError, ValueError, RecursionError):
        raise _unavailable() from None
    if not isinstance(document, dict):
        raise _unavailable()
    return response.status_code, document


def _unavailable() -> ServiceUnavailableError:
    return ServiceUnavailableError("the identity provider does not respond as it should: retry, or check its address")


def _derived(login: str, purpose: str) -> str:
    """43 characters of base64url, as PKCE requires of a verifier."""
    digest = hmac.new(login.encode(), purpose.encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _values(claims: Mapping[str, Any], path: str) -> list[str]:
    value: Any = claims.get(path)
    if value is None:  # Keycloak, for example, has `realm_access.roles`
        value = claims
        for key in path.split("."):
            value = value.get(key) if isinstance(value, dict) else None
    return value.split() if isinstance(value, str) else [each for each in value or [] if isinstance(each, str)]
