"""The base of all groups of settings, and the types of their values: URLs, lists and networks."""

import base64
import grp
import json
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Any, Final, TypeAlias
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainValidator,
    SecretStr,
    field_validator,
)


class Group(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _check_not_empty(cls, value: object) -> object:
        return check_not_empty(value)


def check_not_empty(value: object) -> object:
    if value == "":
        raise ValueError("the value is empty: set a value or unset the variable")
    return value


def with_scheme(url: SecretStr | None, *schemes: str) -> SecretStr | None:
    if url is None:
        return None
    if not url.get_secret_value().startswith(schemes):
        raise ValueError(f"the URL must start with {' or '.join(schemes)}")
    try:
        port = urlsplit(url.get_secret_value()).port
    except ValueError:
        raise ValueError("the URL has a malformed host or port") from None  # the cause quotes the URL
    if port == 0:
        raise ValueError("the URL has a malformed host or port")
    return url


def with_web_address(url: SecretStr | None) -> SecretStr | None:
    """Checks an address that requests are sent to. It may have a query, which can be a secret."""
    checked = with_scheme(url, "https://", "http://")
    if checked is not None:
        text = checked.get_secret_value()
        parts = urlsplit(text)
        if not parts.hostname or "@" in parts.netloc or "#" in text or not text.isascii() or not _is_printable(text):
            raise ValueError("the URL needs a host, and may have no user, no fragment, and only printable ASCII")
        try:
            parts.hostname.encode("idna")  # as it is resolved
        except UnicodeError:
            raise ValueError("the URL has a malformed host or port") from None
    return checked


def with_base_address(url: str | None) -> str | None:
    """Checks an address below which others lie. It has no query, and loses a slash at its end."""
    if with_web_address(None if url is None else SecretStr(url)) and "?" in str(url):
        raise ValueError("the URL has a query: leave it out")
    return url and url.rstrip("/")


def _is_printable(text: str) -> bool:
    return text.isprintable() and " " not in text


def _webhook_secret(value: Any) -> SecretStr:
    text = value.get_secret_value() if isinstance(value, SecretStr) else value
    try:
        key = base64.b64decode(text.removeprefix(SECRET_PREFIX), validate=True)
    except (ValueError, AttributeError):
        key = b""
    if not 24 <= len(key) <= 64:
        raise ValueError(
            "use whsec_ and the base64 of 24 to 64 random bytes, such as those of `openssl rand -base64 32`"
        )
    return SecretStr(text)


SECRET_PREFIX: Final = "whsec_"  # noqa: S105  # of every secret
WebhookSecret: TypeAlias = Annotated[SecretStr, PlainValidator(_webhook_secret)]
"""A symmetric secret as Standard Webhooks writes it; the prefix may be missing."""


def _from_json(value: object) -> object:
    try:
        return json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        raise ValueError("use a JSON list of texts") from None


def _network(value: Any) -> IPv4Network | IPv6Network:
    try:
        return ip_network(value)
    except ValueError:
        raise ValueError("use networks such as 10.20.0.0/16, without bits after the prefix") from None


Roots: TypeAlias = Annotated[tuple[str, ...], BeforeValidator(_from_json)]
Networks: TypeAlias = Annotated[
    tuple[Annotated[IPv4Network | IPv6Network, PlainValidator(_network)], ...], BeforeValidator(_from_json)
]


def group_number(group: str) -> int:
    """The number of a group of this system.

    Raises:
        ValueError: there is no group of this name.
    """
    if group.isascii() and group.isdigit() and len(group) < 10:
        return int(group)
    try:
        return grp.getgrnam(group).gr_gid
    except (KeyError, ValueError):
        raise ValueError("this system has no such group: create it, or name another") from None
