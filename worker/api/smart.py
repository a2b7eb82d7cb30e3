"""The token endpoint for clients with key pairs: SMART Backend Services 2.2.

A client signs a short assertion with its private key and gets an access token for 300 seconds.
"""

import json
import time
from datetime import timedelta
from typing import Any, Final
from urllib.parse import parse_qsl

import structlog
from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from pydantic import ValidationError
from starlette.responses import JSONResponse

from triage.clients.credentials import TOKEN_LIFE, find_client, issue_token
from triage.domain.clients import Client
from triage.domain.scopes import Scope, known_scopes, scope_names
from triage.errors import UsageError, validation_problems
from worker.api.door import media_type
from worker.api.endpoint import Answer, Call, Endpoints
from worker.api.published_keys import PublishedKeys, key_set
from worker.documents.tokens import (
    ASSERTION_TYPE,
    SmartConfigurationDocument,
    TokenDocument,
    TokenErrorDocument,
    TokenRequest,
)

log = structlog.get_logger(__name__)

SMART = Endpoints("tokens")
TOKEN_PATH: Final = "/auth/token"  # noqa: S105  # a path, not a password
_ALGORITHMS: Final = ["RS384", "ES384"]
_FORM: Final = "application/x-www-form-urlencoded"
_MAX_SECONDS: Final = 300
_LEEWAY_SECONDS: Final = 5
_MAX_FORM_BYTES: Final = 2**15
_ERRORS: Final = {400: TokenErrorDocument, 401: TokenErrorDocument}
_PUBLISHED: Final[dict[str, PublishedKeys]] = {}
"""Keys of clients that publish them, by URL. Only registered URLs are added."""


class _Refused(Exception):  # noqa: N818  # an answer of the protocol
    def __init__(self, error: str, description: str) -> None:
        self.document = TokenErrorDocument.model_validate({"error": error, "error_description": description})
        self.status = 401 if error == "invalid_client" else 400


@SMART.endpoint("GET", "/.well-known/smart-configuration", scope=None)
async def smart_configuration(call: Call) -> SmartConfigurationDocument:
    """Read where and how a client gets an access token."""
    return configuration(call)


def configuration(call: Call) -> SmartConfigurationDocument:
    """How clients of this server get access tokens."""
    return SmartConfigurationDocument(
        token_endpoint=token_url(call),
        token_endpoint_auth_methods_supported=["private_key_jwt"],
        token_endpoint_auth_signing_alg_values_supported=_ALGORITHMS,
        grant_types_supported=["client_credentials"],
        scopes_supported=scope_names(set(Scope)),
        capabilities=["client-confidential-asymmetric", "permission-v1", "permission-v2"],
    )


@SMART.endpoint("POST", TOKEN_PATH, scope=None, answers=TokenDocument, bodies={_FORM: TokenRequest}, errors=_ERRORS)
async def issue_access_token(call: Call) -> Answer | JSONResponse:
    """Get an access token for a signed assertion."""
    try:
        return await _issue(call, await _read(call))
    except _Refused as refused:
        log.warning("request.refused", action="issue_access_token", kind=refused.document.error)
        return JSONResponse(refused.document.json_types(), refused.status)


def token_url(call: Call) -> str:
    """The URL of the token endpoint, which an assertion must name as its audience."""
    return f"{call.shared.base_url}{TOKEN_PATH}"


async def _read(call: Call) -> TokenRequest:
    if media_type(call.request.headers) != _FORM:
        raise _Refused("invalid_request", f"the body is not declared as {_FORM}")
    body = b""
    async for piece in call.request.stream():
        body += piece
        if len(body) > _MAX_FORM_BYTES:
            raise _Refused("invalid_request", "the form is too large")
    try:
        fields = parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=20)
        if len(dict(fields)) < len(fields):
            raise _Refused("invalid_request", "a field is given twice")
        request = TokenRequest.model_validate(dict(fields))
    except ValidationError as error:
        raise _Refused("invalid_request", validation_problems(error)) from None
    except ValueError:
        raise _Refused("invalid_request", "the form is malformed") from None
    if request.grant_type != "client_credentials":
        raise _Refused("unsupported_grant_type", "the grant type is not client_credentials")
    if request.client_assertion_type != ASSERTION_TYPE:
        raise _Refused("invalid_request", f"the type of the assertion is not {ASSERTION_TYPE}")
    return request


async def _issue(call: Call, request: TokenRequest) -> Answer:
    asked = None if request.scope is None else sorted(known_scopes(request.scope.split()))
    name, jti, life = await _verified(call, request.client_assertion)
    if asked == []:
        raise _Refused("invalid_scope", "the server has none of these scopes")
    try:
        issued = await call.run(lambda: issue_token(call.services.sessions, name, jti=jti, life=life, scopes=asked))
    except UsageError as error:
        raise _Refused("invalid_scope", str(error)) from None
    if issued is None:
        raise _Refused("invalid_client", "the assertion was used before: sign a new one with another jti")
    log.info("token.issued", action="issue_access_token")
    return Answer(
        TokenDocument(
            access_token=issued.token,
            token_type="bearer",  # noqa: S106  # a kind of token
            expires_in=int(TOKEN_LIFE.total_seconds()),
            scope=" ".join(scope_names(issued.scopes)),
        ),
        {"Pragma": "no-cache"},
    )


async def _verified(call: Call, assertion: str) -> tuple[str, str, timedelta]:
    """The client, the id and the remaining life of an assertion."""
    try:
        unverified = jws.extract_compact(assertion.encode())
        header, name = unverified.headers(), _subject(unverified.payload)
        client = await call.run(lambda: find_client(call.services.sessions, name))
        if client is None or ("jku" in header and header["jku"] != client.jwks_url):
            raise ValueError("unknown client")
        keys = await _keys(client, header.get("kid"))
        claims = jwt.decode(assertion, keys, algorithms=_ALGORITHMS).claims
        _registry(token_url(call), name).validate(claims)
        jti, left = claims["jti"], float(claims["exp"]) - time.time()
        if not isinstance(jti, str) or not jti or not left <= _MAX_SECONDS + _LEEWAY_SECONDS:
            raise ValueError("jti or exp")
    except (JoseError, ValueError, KeyError, TypeError, UsageError, RecursionError):
        raise _Refused(
            "invalid_client",
            f"the assertion is not valid: sign it with a registered key ({' or '.join(_ALGORITHMS)}, `kid`), with "
            f"iss and sub = the client, aud = {token_url(call)}, a new jti, and exp within {_MAX_SECONDS} s",
        ) from None
    return name, jti, timedelta(seconds=max(1.0, left + _LEEWAY_SECONDS))


def _subject(payload: bytes) -> str:
    claims: Any = json.loads(payload)
    if not isinstance(claims, dict) or not isinstance(claims.get("sub"), str):
        raise ValueError("sub")
    name: str = claims["sub"]
    return name


async def _keys(client: Client, kid: object) -> KeySet:
    """The one key that the assertion names."""
    if not isinstance(kid, str):
        raise ValueError("kid")
    if client.jwks_url is not None:
        published = _PUBLISHED.setdefault(client.jwks_url, PublishedKeys(client.jwks_url))
        return await published.with_key(kid)
    return key_set(client.jwks)


def _registry(audience: str, name: str) -> jwt.JWTClaimsRegistry:
    return jwt.JWTClaimsRegistry(
        leeway=_LEEWAY_SECONDS,
        iss={"essential": True, "value": name},
        sub={"essential": True, "value": name},
        aud={"essential": True, "value": audience},
        exp={"essential": True},
        jti={"essential": True},
    )
