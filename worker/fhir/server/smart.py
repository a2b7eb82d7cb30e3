"""Access tokens by SMART Backend Services: a signed assertion in exchange for a token that lives minutes.

Source: https://hl7.org/fhir/smart-app-launch/backend-services.html, version 2.2.0.
"""

import threading
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Final, TypeVar
from urllib.parse import urljoin, urlsplit
from uuid import uuid4

import httpx2
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, KeySet, KeySetSerialization, RSAKey
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from triage.errors import Fault, UsageError
from worker.documents.tokens import ASSERTION_TYPE
from worker.fhir.server.bodies import read_body
from worker.fhir.server.errors import FhirRefusedError, FhirUnavailableError, TooLargeError
from worker.retry_after import delay_of

ASSERTION_SECONDS: Final = 240
"""The standard allows 300; clocks differ."""

_MARGIN_SECONDS: Final = 30
_MAX_BYTES: Final = 2**20
_ALGORITHMS: Final = {"RSA": "RS384", "EC": "ES384"}


_AnswerT = TypeVar("_AnswerT", bound=BaseModel)


_Words = Annotated[list[str], BeforeValidator(lambda found: [each for each in found or () if isinstance(each, str)])]


class Configuration(BaseModel):
    """What a server says of its tokens. Lists are empty if it does not say."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    token_endpoint: str
    token_endpoint_auth_methods_supported: _Words = []
    token_endpoint_auth_signing_alg_values_supported: _Words = []
    capabilities: _Words = []


class _Token(BaseModel):
    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    access_token: str
    expires_in: float = 300
    scope: str | None = None


def import_key(pem: str) -> RSAKey | ECKey:
    """A private key for RS384 or ES384 from PEM.

    Raises:
        UsageError: it is neither an RSA key of 2048 bits or more nor an EC key of the curve P-384.
    """
    for kind in (ECKey, RSAKey):
        try:
            with warnings.catch_warnings(action="ignore"):  # of short keys, which are refused below
                key = kind.import_key(pem)
        except (JoseError, ValueError, TypeError):
            continue
        is_usable = key.curve_name == "P-384" if isinstance(key, ECKey) else key.raw_value.key_size >= 2048
        if key.is_private and is_usable:
            return key
    raise UsageError(
        "the key for the FHIR server is not usable: make an EC key on P-384, or RSA with 2048 bits or more"
    )


def read_key(file: Path) -> RSAKey | ECKey:
    """A private key as `import_key`, from a file.

    Raises:
        FhirRefusedError: the file cannot be read.
        UsageError: the key is not usable.
    """
    try:
        return import_key(file.read_text(encoding="ascii"))
    except (OSError, ValueError) as error:
        raise FhirRefusedError(
            "the key for the FHIR server cannot be read: check its path and its owner", Fault.SETTING
        ) from error


def public_keys(*keys: RSAKey | ECKey) -> KeySetSerialization:
    """The key set (RFC 7517) that a server registers or fetches; with two keys while they are rotated."""
    for key in keys:
        key.ensure_kid()
    document = KeySet(list(keys)).as_dict(private=False)
    for key, described in zip(keys, document["keys"], strict=True):
        described |= {"use": "sig", "alg": _ALGORITHMS[key.key_type]}
    return document


def discover(http: httpx2.Client, base: str) -> Configuration:
    """What the server at `base` says of its tokens.

    Raises:
        FhirUnavailableError: it does not answer.
        FhirRefusedError: it does not offer SMART Backend Services.
    """
    url = f"{base.rstrip('/')}/.well-known/smart-configuration"
    return _answer(http, "GET", url, Configuration)


class SmartTokens:
    """Tokens for one FHIR server. Safe for several threads."""

    def __init__(
        self,
        http: httpx2.Client,
        base: str,
        *,
        client_id: str,
        key: RSAKey | ECKey,
        scopes: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            http: does not follow redirects.
            base: of the FHIR server.
            client_id: under which the server knows this product.
            key: signs the assertions; the server has its public part.
            scopes: asked for, separated by spaces, such as `system/Communication.rs system/Binary.rs`.
            clock: seconds that never go back.
        """
        self._http, self.base, self._client_id, self._key, self._scopes = http, base, client_id, key, scopes
        self._clock = clock
        self._lock = threading.Lock()
        self._token, self._until = "", float("-inf")
        self._granted = scopes

    def header(self) -> Mapping[str, str]:
        """The header that authorises a request.

        Raises:
            FhirUnavailableError: no token can be had now.
            FhirRefusedError: the server refuses this client.
        """
        with self._lock:
            if self._clock() >= self._until:
                asked = self._clock()
                token = self._ask()
                self._token, self._until = token.access_token, asked + token.expires_in - _MARGIN_SECONDS
                self._granted = self._scopes if token.scope is None else token.scope
            return {"Authorization": f"Bearer {self._token}"}

    def forget(self) -> None:
        """Gives up the token, which the server no longer accepts."""
        with self._lock:
            self._until = float("-inf")

    @property
    def algorithm(self) -> str:
        """Of the signatures: `RS384` or `ES384`."""
        return _ALGORITHMS[self._key.key_type]

    def granted(self) -> frozenset[str]:
        """The scopes of the token, which may be fewer than were asked for. Asks for one if there is none.

        Raises:
            FhirUnavailableError, FhirRefusedError: as `header`.
        """
        self.header()
        with self._lock:
            return frozenset(self._granted.split())

    def _ask(self) -> _Token:
        base = f"{self.base.rstrip('/')}/"
        configuration = discover(self._http, self.base)
        try:
            url = urljoin(base, configuration.token_endpoint)
        except ValueError:  # a bracket that is not closed
            url = ""
        if urlsplit(url).scheme != urlsplit(base).scheme:
            raise FhirRefusedError(
                "the token endpoint of the FHIR server is malformed, or has another scheme than the server: "
                "correct its configuration",
                Fault.REFUSED,
            )
        try:
            return _answer(self._http, "POST", url, _Token, self._request(url))
        except FhirRefusedError:  # some servers refuse now and then what they accept a moment later
            return _answer(self._http, "POST", url, _Token, self._request(url))

    def _request(self, url: str) -> Mapping[str, str]:
        self._key.ensure_kid()
        algorithm = _ALGORITHMS[self._key.key_type]
        claims = {
            "iss": self._client_id,
            "sub": self._client_id,
            "aud": url,
            "exp": int(time.time()) + ASSERTION_SECONDS,
            "jti": str(uuid4()),
        }
        header = {"alg": algorithm, "kid": self._key.kid, "typ": "JWT"}
        return {
            "grant_type": "client_credentials",
            "scope": self._scopes,
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": jwt.encode(header, claims, self._key, algorithms=[algorithm]),
        }


def _answer(
    http: httpx2.Client, method: str, url: str, expected: type[_AnswerT], data: Mapping[str, str] | None = None
) -> _AnswerT:
    headers = {"Accept": "application/json"}
    try:
        with http.stream(method, url, data=data, headers=headers) as response:
            if response.status_code == httpx2.codes.TOO_MANY_REQUESTS or response.is_server_error:
                asked = delay_of(response.headers.get("Retry-After"))
                raise FhirUnavailableError("the FHIR server cannot give a token now: retry", retry_after=asked)
            if not response.is_success:
                raise FhirRefusedError(
                    "the FHIR server gives no token: register this client, its public key and its scopes there",
                    Fault.REFUSED,
                )
            return expected.model_validate_json(read_body(response, _MAX_BYTES))
    except httpx2.RequestError as error:
        raise FhirUnavailableError("the FHIR server does not answer a request for a token: check it") from error
    except (ValidationError, TooLargeError, httpx2.InvalidURL) as error:
        raise FhirRefusedError(
            "the FHIR server does not offer SMART Backend Services as the standard says: check its address",
            Fault.REFUSED,
        ) from error
