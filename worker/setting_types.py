"""The base of all groups of settings, and the types of their values: URLs, lists and networks."""

import grp
import json
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Any, TypeAlias
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
