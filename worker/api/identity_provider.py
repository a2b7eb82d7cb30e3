"""Tokens (JWT) of the hospital's identity provider, verified by its published keys (RFC 7519, RFC 9068)."""

from typing import Any, Final

from joserfc import jws, jwt
from joserfc.errors import JoseError

from triage.domain.actors import check_actor
from triage.domain.clients import Caller
from triage.domain.scopes import known_scopes
from triage.errors import UsageError
from worker.api.auth import unauthenticated
from worker.api.problems import RequestError
from worker.api.published_keys import PublishedKeys
from worker.codes import Code

_ALGORITHMS: Final = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"]
"""Signatures by key pairs only: never `none`, and no shared secret, for which a public key could be mistaken."""

_LEEWAY_SECONDS: Final = 30
_PREFIX: Final = "idp:"
_SOURCE: Final = "source:"
_ALL: Final = "*"


class IdentityProvider:
    """Reads tokens of one issuer."""

    def __init__(self, issuer: str, audience: str, jwks_url: str) -> None:
        self._keys = PublishedKeys(jwks_url)
        self._claims = jwt.JWTClaimsRegistry(
            leeway=_LEEWAY_SECONDS,
            iss={"essential": True, "value": issuer},
            aud={"essential": True, "value": audience},
            exp={"essential": True},
        )

    async def read(self, token: str) -> Caller:
        """Returns who has the token: `client_id`, `azp` or `sub`, with the scopes in `scope`, `scp` or `roles`.

        Among these, each `source:NAME` grants messages of this source, `source:*` those of all. A token without one is
        refused: a client chooses the scopes that it asks for, so what is missing must not grant anything.

        Raises:
            RequestError: the signature or a claim is not valid, or no source is granted.
            ServiceUnavailableError: the keys cannot be read now.
        """
        try:
            kid = jws.extract_compact(token.encode()).headers().get("kid")
            keys = await self._keys.with_key(kid)
            claims = jwt.decode(token, keys, algorithms=_ALGORITHMS).claims
            self._claims.validate(claims)
        except (JoseError, ValueError, KeyError, TypeError, RecursionError):
            raise unauthenticated("the token is not valid: check its signature, issuer, audience and time") from None
        names = _scopes(claims)
        sources = tuple(name.removeprefix(_SOURCE) for name in names if name.startswith(_SOURCE))
        if not sources:
            raise RequestError(
                Code.FORBIDDEN, f"the token grants no source: add the scope or role {_SOURCE}NAME, or {_SOURCE}{_ALL}"
            )
        return Caller(_actor(claims), known_scopes(names), None if _ALL in sources else sources)


def _actor(claims: dict[str, Any]) -> str:
    """The prefix keeps it apart from registered clients."""
    name = next((claims[key] for key in ("client_id", "azp", "sub") if claims.get(key)), None)
    if not isinstance(name, str):
        raise unauthenticated("the token does not name its client: it needs client_id, azp or sub")
    try:
        return check_actor(f"{_PREFIX}{name}")
    except UsageError:
        raise unauthenticated("the token names its client by an id that is no actor id") from None


def _scopes(claims: dict[str, Any]) -> list[str]:
    names: list[str] = []
    for key in ("scope", "scp", "roles"):
        value = claims.get(key)
        names += value.split() if isinstance(value, str) else map(str, value) if isinstance(value, list) else []
    return names
